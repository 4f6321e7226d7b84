import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Monitor } from './monitor.js';
import { type ExitStatus, PeerProcess } from './peer-process.js';
import { guestImage } from './requirements.js';
import { type CommandResult, SerialShell } from './serial-shell.js';

/** QEMU's own tap device, to compare with. */
export interface QemuTap {
  readonly ifname: string;
  /** Prefix that runs a command where the tap is, as `NetworkNamespace.inside` makes. */
  readonly inside: (command: readonly string[]) => string[];
}

export interface GuestOptions {
  /** Where the network card's vhost-user back-end listens; no card without it and without `tap`. */
  readonly socketPath?: string;
  readonly tap?: QemuTap;
  /** Connect again, within a second, when the network card's back-end is gone; off by default. */
  readonly reconnect?: boolean;
  /** Where the vsock device's vhost-user back-end listens; no vsock device without it. */
  readonly vsockPath?: string;
  /** More properties of the virtio-net-pci device, such as `packed=on` or `mrg_rxbuf=off`. */
  readonly device?: readonly string[];
  readonly mac?: string;
  /** A virtual IOMMU before the card, which asks the back-end to go by it. */
  readonly iommu?: boolean;
  readonly queuePairs?: number;
  /** Takes over a guest that another QEMU sends to this Unix socket, rather than boot one. */
  readonly incoming?: string;
  /** Mebibytes. */
  readonly memory?: number;
}

/** Debian's QEMU 7.2 crashes under TCG when a vhost-user device starts with MSI-X. */
const NO_MSI_X = 'vectors=0';

/**
 * Before the card, which looks for it when it is made. Only behind a port does the card have what a
 * guest needs to tell it of invalidations (PCI Express address translation services).
 */
const VIRTUAL_IOMMU = [
  ...['-device', 'intel-iommu,intremap=off,device-iotlb=on'],
  ...['-device', 'pcie-root-port,id=card-port,chassis=1'],
];

/**
 * A Linux guest in QEMU whose network card or vsock device is the vhost-user back-end at a socket
 * path. QEMU runs without KVM, so the tests need no nested virtualisation.
 */
export class Guest {
  readonly #folder = mkdtempSync(join(tmpdir(), 'rxvhost-guest-'));
  readonly #qemu: PeerProcess;
  readonly #shell: SerialShell;

  private constructor(options: GuestOptions) {
    const command = this.#command(options);
    this.#qemu = new PeerProcess('qemu', options.tap?.inside(command) ?? command);
    this.#shell = new SerialShell(this.#qemu);
  }

  /** Resolves when the guest has booted and takes commands. */
  static async start(options: GuestOptions): Promise<Guest> {
    const guest = new Guest(options);
    try {
      if (options.incoming === undefined) await guest.#ready(0);
      else await guest.#monitorReady();
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

  /** Moves the running guest to the QEMU that waits at a Unix socket. Resolves when it has moved. */
  async migrateTo(incoming: string): Promise<void> {
    const monitor = await Monitor.connect(this.#monitorPath);
    try {
      await monitor.run(`migrate -d unix:${incoming}`);
      for (;;) {
        const information = await monitor.run('info migrate');
        const [, status] = /Migration status: (\w+)/.exec(information) ?? [];
        if (status === 'completed') return;
        if (status === 'failed' || status === 'cancelled') throw new Error(information);
        await delay(100);
      }
    } finally {
      monitor.close();
    }
  }

  /** Stops the guest's processors and its devices' queues, as for a snapshot. */
  pause(): Promise<void> {
    return this.#tell('stop');
  }

  /** Lets a paused guest go on. */
  resume(): Promise<void> {
    return this.#tell('cont');
  }

  async #tell(command: string): Promise<void> {
    const monitor = await Monitor.connect(this.#monitorPath);
    try {
      await monitor.run(command);
    } finally {
      monitor.close();
    }
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

  async #monitorReady(): Promise<void> {
    for (let waited = 0; !existsSync(this.#monitorPath); waited += 1) {
      if (waited === 300) throw new Error(`QEMU did not start: ${this.#qemu.stderr}`);
      await delay(100);
    }
    // It answers once it has set everything up.
    (await Monitor.connect(this.#monitorPath)).close();
  }

  get #monitorPath(): string {
    return join(this.#folder, 'monitor');
  }

  #kernelMessages(): string {
    return readFileSync(this.#kernelLog, 'utf8').slice(-3000);
  }

  get #kernelLog(): string {
    return join(this.#folder, 'kernel.log');
  }

  #command(options: GuestOptions): string[] {
    const { memory = 256, iommu = false } = options;
    const parameters: Record<string, string> = {
      accel: 'tcg,thread=multi',
      cpu: 'max',
      m: String(memory),
      object: `memory-backend-memfd,id=memory,size=${memory}M,share=on`,
      machine: 'q35,memory-backend=memory',
      display: 'none',
      kernel: join(guestImage, 'vmlinuz'),
      initrd: join(guestImage, 'initramfs'),
      // Without KVM on a busy host the kernel may find its timer too slow, and panic.
      append: `console=ttyS0 quiet mitigations=off no_timer_check${iommu ? ' intel_iommu=on' : ''}`,
    };
    return [
      'qemu-system-x86_64',
      '-nodefaults',
      '-no-user-config',
      ...Object.entries(parameters).flatMap(([name, value]) => [`-${name}`, value]),
      ...(iommu ? VIRTUAL_IOMMU : []),
      ...networkCard(options),
      ...vsockDevice(options),
      // The first serial port is the kernel's console, the second one the shell.
      '-serial',
      `file:${this.#kernelLog}`,
      '-serial',
      'stdio',
      '-monitor',
      `unix:${this.#monitorPath},server=on,wait=off`,
      ...(options.incoming === undefined ? [] : ['-incoming', `unix:${options.incoming}`]),
    ];
  }
}

function networkCard(options: GuestOptions): string[] {
  const { socketPath, tap, device = [], mac, queuePairs = 1, reconnect = false } = options;
  if (socketPath === undefined && tap === undefined) return [];
  const card = [
    'virtio-net-pci,netdev=network,romfile=',
    NO_MSI_X,
    ...(mac === undefined ? [] : [`mac=${mac}`]),
    ...(queuePairs > 1 ? ['mq=on'] : []),
    ...(options.iommu === true ? ['bus=card-port,iommu_platform=on,ats=on,disable-legacy=on'] : []),
    ...device,
  ];
  const network =
    tap === undefined
      ? [
          '-chardev',
          `socket,id=back-end,path=${socketPath}${reconnect ? ',reconnect=1' : ''}`,
          '-netdev',
          `vhost-user,id=network,chardev=back-end,queues=${queuePairs}`,
        ]
      : ['-netdev', `tap,id=network,ifname=${tap.ifname},script=no,downscript=no,vhost=off`];
  return [...network, '-device', card.join(',')];
}

function vsockDevice({ vsockPath }: GuestOptions): string[] {
  if (vsockPath === undefined) return [];
  const device = `vhost-user-vsock-pci,chardev=vsock,${NO_MSI_X}`;
  return ['-chardev', `socket,id=vsock,path=${vsockPath}`, '-device', device];
}
