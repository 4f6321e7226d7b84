import type { PeerProcess } from './peer-process.js';

export interface CommandResult {
  readonly status: number;
  readonly output: string;
}

/**
 * The host's end of the conversation that `tools/guest/init.sh` describes: commands go to the guest
 * in base64, output comes back between two marker lines.
 */
export class SerialShell {
  #nextId = 1;

  constructor(private readonly peer: PeerProcess) {}

  /** Waits until the guest has booted; `from` marks where its output starts. */
  async ready(from: number, timeout = 180_000): Promise<void> {
    await this.peer.waitFor(/rxvhost-guest: ready .*\n/, { from, timeout });
  }

  async run(command: string, timeout = 60_000): Promise<CommandResult> {
    const id = this.#nextId++;
    const encoded = Buffer.from(command).toString('base64');
    const frame = `rxvhost-guest: begin ${id}\\n([\\s\\S]*)\\nrxvhost-guest: end ${id} (\\d+)\\n`;
    const answer = new RegExp(`${frame}|rxvhost-guest: again\\n`);
    for (;;) {
      const from = this.peer.mark();
      this.peer.write(`${id} ${encoded.length} ${encoded}\n`);
      const [, output = '', status] = await this.peer.waitFor(answer, { from, timeout });
      if (status !== undefined) return { status: Number(status), output };
    }
  }
}
