import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const PROMPT = '(qemu) ';

/** QEMU's human monitor on a Unix socket: one command at a time. */
export class Monitor {
  #text = '';

  private constructor(private readonly socket: Socket) {
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  static async connect(path: string): Promise<Monitor> {
    const socket = connect(path);
    const monitor = new Monitor(socket);
    await monitor.#prompt();
    return monitor;
  }

  /** What QEMU says to a command, the command's own echo included. */
  async run(command: string): Promise<string> {
    this.#text = '';
    this.socket.write(`${command}\n`);
    return this.#prompt();
  }

  close(): void {
    this.socket.destroy();
  }

  async #prompt(): Promise<string> {
    while (!this.#text.endsWith(PROMPT)) await once(this.socket, 'data');
    return this.#text;
  }
}
