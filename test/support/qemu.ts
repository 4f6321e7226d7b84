import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExitStatus, PeerProcess } from './peer-process.js';
import { guestImage } from './requirements.js';
import { type CommandResult, SerialShell } from './serial-shell.js';

export interface GuestOptions {
  /** Where the vhost-user back-end listens. */
  readonly socketPath: string;
  /** More properties of the virtio-net-pci device, such as `packed=on` or `mrg_rxbuf=off`. */
  readonly device?: readonly string[];
  readonly mac?: string;
  readonly queuePairs?: number;
  /** Mebibytes. */
  readonly memory?: number;
}

/**
 * A Linux guest in QEMU whose network card is the vhost-user back-end at a socket path. QEMU runs
 * without KVM, so the tests need no nested virtualisation.
 */
export class Guest {
  readonly #folder = mkdtempSync(join(tmpdir(), 'rxvhost-guest-'));
  readonly #qemu: PeerProcess;
  readonly #shell: SerialShell;

  private constructor(options: GuestOptions) {
    this.#qemu = new PeerProcess('qemu', this.#command(options));
    this.#shell = new SerialShell(this.#qemu);
  }

  /** Resolves when the guest has booted and takes commands. */
  static async start(options: GuestOptions): Promise<Guest> {
    const guest = new Guest(options);
    try {
      await guest.#ready(0);
      return guest;
    } catch (error) {
      await guest.kill();
      throw error;
    }
  }

  get commandLine(): string {
    return this.#qemu.commandLine;
  }

  /** Runs a shell command in the guest. */
  run(command: string, timeout?: number): Promise<CommandResult> {
    return this.#shell.run(command, timeout);
  }

  /** As `run`, but a command that fails rejects with its output. */
  async check(command: string, timeout?: number): Promise<string> {
    const { status, output } = await this.run(command, timeout);
    if (status === 0) return output;
    throw new Error(`in the guest, ${command} ended with status ${status}:\n${output}`);
  }

  /** Restarts the guest; QEMU and its connection to the back-end stay. */
  async reboot(): Promise<void> {
    const from = this.#qemu.mark();
    void this.#shell.run('reboot -f').catch(() => {}); // never answers
    await this.#ready(from);
  }

  /** Ends QEMU as a crash would: nothing is said to the back-end. */
  async kill(): Promise<ExitStatus> {
    const exit = await this.#qemu.stop('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
    return exit;
  }

  get stderr(): string {
    return this.#qemu.stderr;
  }

  async #ready(from: number): Promise<void> {
    try {
      await this.#shell.ready(from);
    } catch (error) {
      throw new Error(`the guest did not boot; its kernel said:\n${this.#kernelMessages()}`, {
        cause: error,
      });
    }
  }

  #kernelMessages(): string {
    return readFileSync(this.#kernelLog, 'utf8').slice(-3000);
  }

  get #kernelLog(): string {
    return join(this.#folder, 'kernel.log');
  }

  #command({ socketPath, device = [], mac, queuePairs = 1, memory = 256 }: GuestOptions): string[] {
    const card = [
      'virtio-net-pci,netdev=network,romfile=',
      // Debian's QEMU 7.2 crashes under TCG when a vhost-user device starts with MSI-X.
      'vectors=0',
      ...(mac === undefined ? [] : [`mac=${mac}`]),
      ...(queuePairs > 1 ? ['mq=on'] : []),
      ...device,
    ];
    const options: Record<string, string> = {
      accel: 'tcg,thread=multi',
      cpu: 'max',
      m: String(memory),
      object: `memory-backend-memfd,id=memory,size=${memory}M,share=on`,
      machine: 'q35,memory-backend=memory',
      display: 'none',
      kernel: join(guestImage, 'vmlinuz'),
      initrd: join(guestImage, 'initramfs'),
      // Without KVM on a busy host the kernel may find its timer too slow, and panic.
      append: 'console=ttyS0 quiet mitigations=off no_timer_check',
      chardev: `socket,id=back-end,path=${socketPath}`,
      netdev: `vhost-user,id=network,chardev=back-end,queues=${queuePairs}`,
      device: card.join(','),
    };
    return [
      'qemu-system-x86_64',
      '-nodefaults',
      '-no-user-config',
      ...Object.entries(options).flatMap(([name, value]) => [`-${name}`, value]),
      // The first serial port is the kernel's console, the second one the shell.
      '-serial',
      `file:${this.#kernelLog}`,
      '-serial',
      'stdio',
    ];
  }
}
