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
    const from = this.peer.mark();
    this.peer.write(`${id} ${Buffer.from(command).toString('base64')}\n`);
    const frame = new RegExp(
      `rxvhost-guest: begin ${id}\\n([\\s\\S]*)\\nrxvhost-guest: end ${id} (\\d+)\\n`,
    );
    const [, output = '', status] = await this.peer.waitFor(frame, { from, timeout });
    return { status: Number(status), output };
  }
}
