import { closeSync, openSync, readdirSync } from 'node:fs';
import type { TestContext } from 'node:test';
import t, { type Test } from 'tap';
import { link, loopback, NullSocket, type PacketBatch } from '../src/index.js';
import {
  backendConformance,
  type ConformanceOptions,
  type ConformanceTest,
  SocketPeer,
} from '../src/testing/index.js';
import { CableSocket } from './support/cable-socket.js';

// A busy machine needs its time.
t.setTimeout(120_000);

const openFiles = () => readdirSync('/proc/self/fd').length;

for (const rings of ['split', 'packed'] as const) {
  const chains = `with chains from ${rings} rings`;

  t.test(`the null backend conforms, ${chains}`, (t) =>
    backendConformance(t, () => new NullSocket(), { sink: true, openFiles, rings }),
  );

  t.test(
    `C4 C6 C7 the loopback conforms, with small stores and with frames of 65,550 bytes, ${chains}`,
    async (t) => {
      const make = (options: Parameters<typeof loopback>[0], largestFrame: number) => () => {
        const backend = loopback(options);
        return { backend, peer: new SocketPeer(backend, { largestFrame }) };
      };
      await t.test('ordinary', (t) => backendConformance(t, make({}, 1514), { openFiles, rings }));
      await t.test('small', (t) =>
        backendConformance(t, make({ bytes: 40_000, frames: 64 }, 1514), { rings }),
      );
      await t.test('long frames', (t) =>
        backendConformance(t, make({}, 65_550), { largestFrame: 65_550, rings }),
      );
    },
  );

  t.test(`C4 C6 C7 a link conforms, ${chains}`, (t) =>
    backendConformance(
      t,
      () => {
        const [backend, other] = link({ frames: 500 });
        return { backend, peer: new SocketPeer(other), release: () => other.close() };
      },
      { openFiles, rings },
    ),
  );

  t.test(`C11 a backend that sends by reference conforms, ${chains}`, (t) =>
    backendConformance(t, () => new CableSocket().bench, { openFiles, rings }),
  );
}

/** Runs the suite and keeps which checks failed, and why. */
async function failures(make: () => CableSocket, options: ConformanceOptions = {}) {
  const failed = new Map<string, string>();
  const passed: string[] = [];
  const runner: ConformanceTest = {
    async test(name, body) {
      try {
        await body(runner);
        passed.push(name);
      } catch (error) {
        failed.set(name, error instanceof Error ? error.message : String(error));
      }
    },
  };
  await backendConformance(runner, () => make().bench, { patience: 200, ...options });
  return { failed, passed };
}

/** The suite fails just these checks, with these words. */
async function fails(t: Test, make: () => CableSocket, expected: [RegExp, RegExp][]) {
  const { failed, passed } = await failures(make, { openFiles });
  t.equal(failed.size, expected.length, [...failed].join('\n'));
  for (const [name, reason] of expected) {
    const found = [...failed].find(([check]) => name.test(check));
    t.match(found?.[1], reason, `${name}`);
  }
  t.ok(passed.length >= 8, 'the other checks pass');
}

t.test('the suite finds each of six broken backends', async (t) => {
  const backPressure = /back-pressure/;

  await t.test('one that loses a frame under back-pressure', async (t) => {
    class Loses extends CableSocket {
      protected override becameFull(batch: PacketBatch, first: number, next: number): number {
        batch.results[next] = batch.frameLength(next);
        return next + 1 - first;
      }
    }
    await fails(t, () => new Loses(), [[backPressure, /is lost/]]);
  });

  await t.test('one that doubles a frame', async (t) => {
    class Doubles extends CableSocket {
      protected override becameFull(batch: PacketBatch, first: number, next: number): number {
        // It has kept the frame, and says that it has not: the device sends it again.
        const frame = new Uint8Array(batch.frameLength(next));
        batch.copyFrame(next, frame);
        this.leaving.push(frame);
        return next - first;
      }
    }
    await fails(t, () => new Doubles(), [[backPressure, /for the second time/]]);
  });

  await t.test('one that reorders frames', async (t) => {
    class Reorders extends CableSocket {
      protected override becameFull(_batch: PacketBatch, first: number, next: number): number {
        this.leaving.unshift(...this.leaving.splice(-1));
        return next - first;
      }
    }
    await fails(t, () => new Reorders(), [[backPressure, /came later/]]);
  });

  await t.test('C13 one that completes twice', async (t) => {
    class CompletesTwice extends CableSocket {
      protected override complete(ticket: number): void {
        super.complete(ticket);
        if (ticket % 4 === 0) super.complete(ticket);
      }
    }
    await fails(t, () => new CompletesTwice(), [[/by reference/, /completed 2 times/]]);
  });

  await t.test('A12 one that never becomes readable again', async (t) => {
    class ReadableOnce extends CableSocket {
      #told = false;
      protected override frameArrived(): void {
        if (!this.#told) super.frameArrived();
        this.#told = true;
      }
    }
    await fails(t, () => new ReadableOnce(), [
      [/becomes readable again/, /round 2: readable\$ did not emit/],
    ]);
  });

  await t.test('one that leaks its file', async (t) => {
    const opened: number[] = [];
    class Leaks extends CableSocket {
      readonly fd = opened.push(openSync('/dev/null', 'r'));
    }
    await fails(t, () => new Leaks(), [[/no file stays open/, /8 more files are open/]]);
    for (const fd of opened) closeSync(fd);
  });
});

t.test('the suite says what an author has to declare', async (t) => {
  const { failed } = await failures(() => new CableSocket(), { fullAfter: 100 });
  t.match([...failed.values()], [/not full after 100 frames/]);
  const results: string[] = [];
  const runner: ConformanceTest = {
    async test(name, body) {
      await body(runner).catch((error: Error) => results.push(`${name}: ${error.message}`));
    },
  };
  await backendConformance(runner, () => new NullSocket());
  t.match(results[0], /a backend that is no sink needs a peer/);
});

t.test('contexts of node:test can be handed to the suite', async (t) => {
  const asConformanceTest = (context: TestContext): ConformanceTest => context;
  t.type(asConformanceTest, 'function', 'as the compiler has checked');
});
