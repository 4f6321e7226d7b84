import type { PacketSocket } from '../backend/packet-socket.js';
import type { Check } from './checks/check.js';
import { CLOSE_CHECKS } from './checks/close-checks.js';
import { HEADER_CHECKS } from './checks/header-checks.js';
import { READINESS_CHECKS } from './checks/readiness-checks.js';
import { RECEIVE_CHECKS } from './checks/receive-checks.js';
import { SEND_CHECKS } from './checks/send-checks.js';
import { ZERO_COPY_CHECKS } from './checks/zero-copy-checks.js';
import type {
  ConformanceBench,
  ConformanceOptions,
  ConformanceTest,
} from './conformance-options.js';
import { Exchange, expect } from './exchange.js';
import { until } from './waiting.js';

const CHECKS: readonly Check[] = [
  ...SEND_CHECKS,
  ...RECEIVE_CHECKS,
  ...READINESS_CHECKS,
  ...ZERO_COPY_CHECKS,
  ...HEADER_CHECKS,
  ...CLOSE_CHECKS,
];
const LEAK_ROUNDS = 8;

/** Makes a backend for one check: with its other end, or alone where it is a sink. */
export type BackendMaker = () =>
  | PacketSocket
  | ConformanceBench
  | Promise<PacketSocket | ConformanceBench>;

/**
 * Checks a backend against what `PacketSocket` promises, each check as a subtest of `t` on a backend
 * of its own: frames whole, once and in order at all sizes, back-pressure, readiness, memory that is
 * not the backend's, completions, closing, files left open.
 *
 * A failed check rejects with what was wrong; nothing is retried, and no check measures time.
 *
 * @param t - the test to add subtests to: tap's or `node:test`'s
 * @param makeBackend - called once a check, and several times by the leak check
 */
export async function backendConformance(
  t: ConformanceTest,
  makeBackend: BackendMaker,
  options: ConformanceOptions = {},
): Promise<void> {
  for (const { name, applies, run } of CHECKS) {
    if (applies?.(options) === false) continue;
    await t.test(name, async (t) => {
      await withBench(makeBackend, async (bench) => {
        const exchange = new Exchange(bench, options);
        try {
          await run(exchange);
        } finally {
          exchange.release();
        }
      });
      t.pass?.(name);
    });
  }
  const { openFiles } = options;
  if (openFiles === undefined) return;
  const name = 'no file stays open after close';
  await t.test(name, async (t) => {
    await checkLeaks(makeBackend, openFiles, options);
    t.pass?.(name);
  });
}

async function withBench(
  makeBackend: BackendMaker,
  use: (bench: ConformanceBench) => Promise<void>,
): Promise<void> {
  const made = await makeBackend();
  const bench: ConformanceBench = 'backend' in made ? made : { backend: made };
  try {
    await use(bench);
  } finally {
    bench.backend.close();
    await bench.release?.();
  }
}

/** Makes, uses a little and closes; the first round loads what is loaded only once. */
async function checkLeaks(
  makeBackend: BackendMaker,
  openFiles: () => number,
  { patience = 5000 }: ConformanceOptions,
): Promise<void> {
  const round = () =>
    withBench(makeBackend, async ({ backend }) => {
      backend.readable$.subscribe().unsubscribe();
      backend.writable$.subscribe().unsubscribe();
    });
  await round();
  const before = openFiles();
  for (let n = 0; n < LEAK_ROUNDS; n += 1) await round();
  await until(() => openFiles() <= before, patience);
  const more = openFiles() - before;
  expect(more <= 0, `${more} more files are open after ${LEAK_ROUNDS} backends were closed`);
}
