/** Back-ends that are killed with frames in their hands, and the next ones, which are told of them. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { FEATURE } from '@rxvhost/core';
import t, { type Test } from 'tap';
import { InflightFile, ReconnectingFrontend } from '../src/index.js';
import { until } from './support/bench.js';
import { killServer, socketPathFor, startServer } from './support/server-process.js';
import { DRIVER_FEATURES, TestVm } from './support/test-vm.js';

// Many processes are started: a busy machine needs its time.
t.setTimeout(480_000);

/** Goes by reference, and stays with the backend. */
const LONG = 300;
/** Is copied, and done with at once. */
const SHORT = 60;

/** The numbers from `from` up to but not with `to`. */
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

/** A back-end that keeps frames, and what it has said. */
class HoldingServer {
  readonly took: number[] = [];

  constructor(readonly child: ChildProcess) {
    createInterface({ input: child.stdout ?? process.stdin }).on('line', (line) => {
      const [, frame] = /^took (\d+)$/.exec(line) ?? [];
      if (frame !== undefined) this.took.push(Number(frame));
    });
  }

  tell(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  get dead(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }
}

/** A guest whose back-ends are killed one after the other. */
class Guest {
  readonly vm: TestVm;
  readonly faults: string[] = [];
  readonly inflight = new InflightFile();
  server: HoldingServer | undefined;
  readonly #path: string;

  constructor(
    private readonly t: Test,
    queueSize: number,
    features: bigint,
  ) {
    this.vm = new TestVm(queueSize, features);
    this.#path = socketPathFor(t);
    const machine = { ...this.vm.machine(), inflight: this.inflight };
    const reconnecting = new ReconnectingFrontend(this.#path, machine, { longestDelay: 50 });
    const subscription = reconnecting.connections$.subscribe();
    this.vm.nic.driver.errors$.subscribe(({ message }) => this.faults.push(message));
    t.teardown(() => {
      subscription.unsubscribe();
      this.inflight.close();
      this.vm.close();
    });
    this.vm.nic.start();
  }

  /** Frames that the driver has not been given back. */
  get pending(): number {
    return this.vm.nic.driver.pendingFrames();
  }

  /** The frames that must still be served. */
  get unserved(): number[] {
    const { next } = this.vm.sent;
    return numbers(next - this.pending, next);
  }

  /** A new back-end; it must take just what the one before has not given back, in order. */
  async nextLife(what: string): Promise<HoldingServer> {
    const expected = this.unserved;
    const server = new HoldingServer(await startServer(this.t, 'holding-server', this.#path));
    this.server = server;
    await until(this.t, what, () => server.took.length >= expected.length);
    this.t.strictSame(server.took, expected, 'what is in flight, each frame once and in order');
    return server;
  }

  /** Sends so many frames, every fifth of them short, and waits until the back-end has them. */
  async send(count: number): Promise<void> {
    for (let frame = 0; frame < count; frame += 1) {
      this.vm.send(1, this.vm.sent.next % 5 === 4 ? SHORT : LONG);
    }
    const last = this.vm.sent.next - 1;
    await until(this.t, `${count} frames are in flight`, () => this.server?.took.at(-1) === last);
  }

  async kill(): Promise<void> {
    if (this.server !== undefined) await killServer(this.server.child);
    this.t.strictSame(this.faults, [], 'no used entry twice, none that is not the driver’s');
  }
}

const { RING_PACKED, IN_ORDER } = FEATURE;
const LAYOUTS = [
  ['split', 64, 0n],
  ['packed', 50, RING_PACKED],
  ['split, in order', 64, IN_ORDER],
  ['packed, in order', 50, RING_PACKED | IN_ORDER],
] as const;

for (const [layout, size, features] of LAYOUTS.slice(0, 2)) {
  t.test(`T12 T10 ${layout}: of killed back-ends the next serves what was in flight`, async (t) => {
    const guest = new Guest(t, size, DRIVER_FEATURES | features);
    const first = await guest.nextLife('nothing yet');
    await guest.send(40);
    t.equal(guest.pending, 40, 'short frames wait for those before them');
    first.tell('oldest 20');
    await until(t, '20 long frames and the 5 short ones between', () => guest.pending === 15);
    await until(t, 'the long ones come back', () => guest.vm.received.intact === 20);
    await guest.kill();
    t.equal(guest.pending, 15);

    const second = await guest.nextLife('the next one takes what is left');
    await guest.send(10);
    second.tell('newest 3');
    await until(t, 'those come back', () => guest.vm.received.intact === 23);
    t.equal(guest.pending, 25, 'but none is given back before those that were sent earlier');
    await guest.kill();

    await guest.nextLife('also what was finished and could not be told');
    await guest.kill();
    const last = await guest.nextLife('and once more');
    last.tell('oldest 64');
    await until(t, 'all are served', () => guest.pending === 0);
    await guest.send(30);
    last.tell('oldest 64');
    await until(t, 'and those after them', () => guest.pending === 0);
    await guest.kill();
    t.equal(guest.vm.received.damaged, 0);
  });
}

for (const [layout, size, features] of LAYOUTS) {
  t.test(`T12 T10 ${layout}: nor does it matter in which store a back-end dies`, async (t) => {
    const guest = new Guest(t, size, DRIVER_FEATURES | features);
    let deaths = 0;
    for (const store of [0, 2, 9, 40]) {
      const server = await guest.nextLife(`a life of ${store} stores`);
      await guest.send(30 - guest.pending);
      const ended = once(server.child, 'exit').then(() => {
        deaths += 1;
      });
      server.tell(`die ${store}`);
      server.tell('oldest 64');
      await until(t, 'it dies, or is done', () => server.dead || guest.pending === 0);
      if (server.dead) await ended;
      await guest.kill();
    }
    t.ok(deaths >= 2, `${deaths} died in the middle of it`);
    const last = await guest.nextLife('what is left');
    last.tell('oldest 64');
    await until(t, 'all are served', () => guest.pending === 0);
    await guest.kill();
  });
}
