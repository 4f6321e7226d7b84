import { setTimeout as delay } from 'node:timers/promises';
import { type ExitStatus, PeerProcess } from './peer-process.js';

export interface TestpmdOptions {
  /** Tells the shared files of several instances apart. */
  readonly name: string;
  /** Virtual devices in order of their ports, such as `net_vhost0,iface=/tmp/socket`. */
  readonly devices: readonly string[];
  /** The processor that both threads, main and forwarding, run on. */
  readonly core: number;
  /** `none` (`--no-huge`), or hugepages of a mount-less in-memory allocation. */
  readonly hugepages?: 'none' | 'in-memory';
  readonly mode: 'txonly' | 'rxonly' | 'io' | 'macswap' | 'icmpecho' | 'csum';
  /** More arguments after `--`. */
  readonly arguments?: readonly string[];
  /** Prefix that runs a command elsewhere, as `NetworkNamespace.inside` makes. */
  readonly inside?: (command: readonly string[]) => string[];
}

/** What testpmd has counted on a port, or forwarded through it, in frames. */
export interface PortCounters {
  readonly received: number;
  readonly receiveDropped: number;
  readonly transmitted: number;
  readonly transmitDropped: number;
}

/**
 * DPDK's testpmd: as vhost-user front-end with a `net_virtio_user` device, as back-end with
 * `net_vhost`. Used interactively: forwarding starts and stops when the test says so.
 */
export class Testpmd {
  readonly #peer: PeerProcess;

  private constructor(options: TestpmdOptions) {
    const { inside = (command) => [...command] } = options;
    this.#peer = new PeerProcess(`testpmd ${options.name}`, inside(commandOf(options)));
  }

  /** Resolves when testpmd has set up its ports and takes commands. */
  static async start(options: TestpmdOptions): Promise<Testpmd> {
    const testpmd = new Testpmd(options);
    try {
      await testpmd.#peer.waitFor(/testpmd> /);
      return testpmd;
    } catch (error) {
      await testpmd.#peer.stop('SIGKILL');
      throw error;
    }
  }

  get commandLine(): string {
    return this.#peer.commandLine;
  }

  /** Runs one command; returns what it printed before the next prompt. */
  async command(line: string, timeout = 60_000): Promise<string> {
    const from = this.#peer.mark();
    this.#peer.write(`${line}\n`);
    const echo = line.replaceAll(/[^\w ]/g, '\\$&');
    const answer = new RegExp(`${echo}\\r?\\n([\\s\\S]*?)testpmd> `);
    const [, output = ''] = await this.#peer.waitFor(answer, { from, timeout });
    return output;
  }

  /** Starts forwarding; `txFirst` sends that many bursts of 32 frames before it. */
  async forward({ txFirst = 0 } = {}): Promise<void> {
    await this.command(txFirst > 0 ? `start tx_first ${txFirst}` : 'start');
  }

  /** Stops forwarding; returns what was forwarded on each port since it started. */
  async stopForwarding(): Promise<PortCounters[]> {
    const output = await this.command('stop');
    const ports = output.matchAll(
      /statistics for port \d+ .*\s+RX-packets: (\d+)\s+RX-dropped: (\d+).*\s+TX-packets: (\d+)\s+TX-dropped: (\d+)/g,
    );
    return Array.from(ports, (counts) => portCounters(counts));
  }

  /** What the devices have counted on each port. */
  async portStatistics(): Promise<PortCounters[]> {
    const output = await this.command('show port stats all');
    const ports = output.matchAll(
      /NIC statistics for port \d+ .*\s+RX-packets: (\d+)\s+RX-missed: (\d+)[\s\S]*?TX-packets: (\d+)\s+TX-errors: (\d+)/g,
    );
    return Array.from(ports, (counts) => portCounters(counts));
  }

  /** Waits, up to a minute, until the devices' counters are as wanted; returns them. */
  async portStatisticsWhen(wanted: (ports: PortCounters[]) => boolean): Promise<PortCounters[]> {
    const end = performance.now() + 60_000;
    let ports = await this.portStatistics();
    while (!wanted(ports) && performance.now() < end) {
      await delay(50);
      ports = await this.portStatistics();
    }
    return ports;
  }

  /** Waits for an event that testpmd reports by itself, such as a changed link. */
  async waitFor(pattern: RegExp, timeout?: number): Promise<void> {
    await this.#peer.waitFor(pattern, timeout === undefined ? {} : { timeout });
  }

  /** Closes the ports in order and ends. */
  async quit(): Promise<ExitStatus> {
    this.#peer.write('quit\n');
    return await Promise.race([this.#peer.exited, this.#killLater()]);
  }

  /** Ends as a crash would. Harmless when it has ended. */
  kill(): Promise<ExitStatus> {
    return this.#peer.stop('SIGKILL');
  }

  get stderr(): string {
    return this.#peer.stderr;
  }

  async #killLater(): Promise<ExitStatus> {
    await delay(30_000, undefined, { ref: false });
    return this.kill();
  }
}

function commandOf(options: TestpmdOptions): string[] {
  const { name, devices, core, hugepages = 'none', mode } = options;
  return [
    // Its prompt is written at once and the rest through stdio: keep the two in order.
    ...['stdbuf', '-oL', 'dpdk-testpmd'],
    ...['--lcores', `0@${core},1@${core}`],
    ...(hugepages === 'none' ? ['--no-huge'] : ['--in-memory', '--single-file-segments']),
    ...['-m', '256', '--no-pci', `--file-prefix=${name}`],
    ...devices.flatMap((device) => ['--vdev', device]),
    ...['--', '--interactive', `--forward-mode=${mode}`, '--no-mlockall'],
    ...['--total-num-mbufs=8192', ...(options.arguments ?? [])],
  ];
}

function portCounters(counts: RegExpExecArray): PortCounters {
  const [received, receiveDropped, transmitted, transmitDropped] = counts.slice(1).map(Number);
  return {
    received: received ?? 0,
    receiveDropped: receiveDropped ?? 0,
    transmitted: transmitted ?? 0,
    transmitDropped: transmitDropped ?? 0,
  };
}
