import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { link } from '@rxvhost/core';
import { formatIp, formatMac, parseIp, parseMac } from '@rxvhost/guest';
import { NativeCopier } from '@rxvhost/sys';
import { GuestMachine } from './guest-machine.js';
import { LiveRates, type Screen } from './live-rates.js';
import { NetworkCard } from './network-card.js';
import type { DemoOptions } from './options.js';
import { dropsOf, percentile, type Summary } from './summary.js';
import { exchangeFrames, FRAME_LENGTHS } from './traffic.js';

const PINGS = 5;
const ROUND_TRIPS = 1000;
const A = { name: 'A', ip: parseIp('10.0.0.1'), mac: parseMac('02:00:00:00:00:0a') };
const B = { name: 'B', ip: parseIp('10.0.0.2'), mac: parseMac('02:00:00:00:00:0b') };

/** What to call, last thing first, when the demo is over. */
type Cleanup = (() => Promise<void>)[];

/**
 * The demo: two NICs on one cable, a guest behind each; ARP, ping, frames both ways, round trips.
 * Everything that it makes is gone when it settles, called off or not.
 * @param screen - where to tell what happens; nowhere for `undefined`
 * @returns what came of it. Rejects with the signal's reason when that calls it off
 */
export async function runDemo(
  options: DemoOptions,
  screen: Screen | undefined,
  signal: AbortSignal,
): Promise<Summary> {
  const cleanup: Cleanup = [];
  try {
    return await new Demo(options, screen, signal, cleanup).run();
  } finally {
    await closeAll(cleanup);
  }
}

/** Closes everything, in reverse order, whatever goes wrong with one of them; then tells of that. */
async function closeAll(cleanup: Cleanup): Promise<void> {
  const failures: unknown[] = [];
  for (const close of cleanup.reverse()) await close().catch((error) => failures.push(error));
  if (failures.length > 0)
    throw new AggregateError(failures, `cleaning up: ${failures.join('; ')}`);
}

class Demo {
  readonly #problems: string[] = [];

  constructor(
    private readonly options: DemoOptions,
    private readonly screen: Screen | undefined,
    private readonly signal: AbortSignal,
    private readonly cleanup: Cleanup,
  ) {}

  async run(): Promise<Summary> {
    this.#say('two guests, a vhost-user NIC for each, one cable between the NICs', '');
    const cards = await this.#plugCards();
    const guests = [await this.#boot(A, cards[0]), await this.#boot(B, cards[1])] as const;
    await this.#ping(...guests);
    const start = performance.now();
    await this.#exchange(guests);
    const roundTrips = await this.#measureRoundTrips(...guests);
    return this.#summarize(cards, guests, start, roundTrips);
  }

  async #plugCards(): Promise<readonly [NetworkCard, NetworkCard]> {
    const directory = await mkdtemp(join(tmpdir(), 'rxvhost-demo-'));
    this.cleanup.push(() => rm(directory, { recursive: true }));
    const [left, right] = link({ copier: new NativeCopier() });
    const plug = (machine: typeof A, cable: typeof left) => {
      const path = join(directory, `${machine.name}.sock`);
      const report = this.#reporter(`NIC ${machine.name}`);
      const card = new NetworkCard(path, machine.mac, cable, report);
      this.cleanup.push(() => card.close());
      this.#say(`NIC ${machine.name}       serves ${path}`);
      return card;
    };
    return [plug(A, left), plug(B, right)];
  }

  async #boot({ name, ip }: typeof A, { socketPath }: NetworkCard): Promise<GuestMachine> {
    const guest = await GuestMachine.boot(name, ip, socketPath, this.#reporter(`guest ${name}`));
    this.cleanup.push(() => guest.shutDown());
    const features = guest.agreement.features.toString(16);
    this.#say(`guest ${name}     ${formatIp(ip)}, ${formatMac(guest.mac)}, features 0x${features}`);
    this.signal.throwIfAborted();
    return guest;
  }

  async #ping(a: GuestMachine, b: GuestMachine): Promise<void> {
    const asked = performance.now();
    const mac = await a.host.resolve(b.ip);
    const took = (performance.now() - asked).toFixed(2);
    this.#say(`ARP         A asks for ${formatIp(b.ip)}: it is at ${formatMac(mac)}, ${took} ms`);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const times: number[] = [];
      for (let ping = 0; ping < PINGS; ping += 1) times.push(await from.host.ping(to.ip));
      const list = times.map((time) => time.toFixed(2)).join(', ');
      this.#say(`ping        ${from.name} → ${to.name}: ${PINGS} of ${PINGS} answered, ${list} ms`);
    }
  }

  async #exchange(guests: readonly [GuestMachine, GuestMachine]): Promise<void> {
    const { frames } = this.options;
    const [shortest, longest] = [Math.min(...FRAME_LENGTHS), Math.max(...FRAME_LENGTHS)];
    this.#say(
      `frames      ${frames.toLocaleString('en-US')} each way, ${shortest} to ${longest} bytes, ` +
        'numbered, with a CRC-32 each',
    );
    const rates = this.screen && new LiveRates(this.screen, guests, frames);
    await exchangeFrames(guests, frames, this.signal);
    rates?.stop();
    this.signal.throwIfAborted();
  }

  /** In milliseconds. Nothing else is under way meanwhile. */
  async #measureRoundTrips(a: GuestMachine, b: GuestMachine): Promise<readonly number[]> {
    const times: number[] = [];
    for (let trip = 0; trip < ROUND_TRIPS; trip += 1) {
      this.signal.throwIfAborted();
      times.push(await a.host.ping(b.ip));
    }
    return times;
  }

  #summarize(
    cards: readonly [NetworkCard, NetworkCard],
    guests: readonly [GuestMachine, GuestMachine],
    start: number,
    roundTrips: readonly number[],
  ): Summary {
    const { frames } = this.options;
    const directions = guests.map((to, index) => {
      const { intact, bytes, missing, damaged, outOfOrder } = to.checker;
      const seconds = Math.max(to.lastArrival - start, 0) / 1000;
      return {
        from: guests[1 - index]?.name ?? '',
        to: to.name,
        sent: frames,
        received: intact,
        bytes,
        framesPerSecond: seconds === 0 ? 0 : intact / seconds,
        megabitsPerSecond: seconds === 0 ? 0 : (bytes * 8) / seconds / 1e6,
        // Those at the very end, too, which no later frame tells of.
        missing: missing + Math.max(0, frames - intact - missing - damaged),
        damaged,
        outOfOrder,
      };
    });
    const statistics = cards.map(({ device }) => device.statistics());
    const drops = Object.assign(
      {},
      ...guests.map(({ name, nic }, index) => {
        const card = statistics[index];
        return card === undefined ? {} : dropsOf(name, card, nic.driver.statistics());
      }),
    ) as Record<string, number>;
    const queues = statistics.flatMap((each) => each.queues);
    const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
    const flawless = directions.every(
      ({ received, damaged, missing, outOfOrder }) =>
        received === frames && damaged + missing + outOfOrder === 0,
    );
    const clean = Object.keys(drops).length === 0 && this.#problems.length === 0;
    return {
      ok: flawless && clean,
      directions: directions.reverse(),
      frames: total(directions.map(({ received }) => received)),
      bytes: total(directions.map(({ bytes }) => bytes)),
      seconds: Math.max(...guests.map(({ lastArrival }) => lastArrival - start), 0) / 1000,
      drops,
      roundTrip: {
        count: roundTrips.length,
        p50: percentile(roundTrips, 0.5) * 1000,
        p99: percentile(roundTrips, 0.99) * 1000,
      },
      kicks: total(queues.map(({ kicks }) => kicks)),
      calls: total(queues.map(({ calls }) => calls)),
      problems: this.#problems,
    };
  }

  #say(...lines: string[]): void {
    for (const line of lines) this.screen?.write(`${line}\n`);
  }

  #reporter(where: string): (problem: string) => void {
    return (problem) => {
      this.#problems.push(`${where}: ${problem}`);
    };
  }
}
