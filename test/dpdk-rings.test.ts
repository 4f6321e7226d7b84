/** DPDK's virtio-user on every kind of ring: packed and split, in order or not, of many sizes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { returnsEveryFrame } from './support/dpdk-loopback.js';
import { needsProgram, needsRoot, peerTest } from './support/requirements.js';

t.setTimeout(600_000);
const folder = mkdtempSync(join(tmpdir(), 'rxvhost-dpdk-rings-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Every combination of these takes minutes: RXVHOST_DPDK_MATRIX=whole. Else each value comes up. */
const WHOLE = process.env['RXVHOST_DPDK_MATRIX'] === 'whole';
const PAIRS = [1, 2, 8];
/** Entries of the rings; the last of the packed ones are no powers of two. */
const SIZES = { split: [64, 256, 1024, 4096], packed: [64, 1024, 112, 1000] };
/** The largest that virtio-user has mbufs for here. */
const LARGEST = 32768;

const both = [false, true];
const kinds = both.flatMap((packed) =>
  both.flatMap((inOrder) => both.map((mergeable) => ({ packed, inOrder, mergeable }))),
);
const runs = kinds.flatMap((kind, index) =>
  PAIRS.filter((_, turn) => WHOLE || turn === index % PAIRS.length).map((pairs, turn) => {
    const sizes = kind.packed ? SIZES.packed : SIZES.split;
    return { ...kind, pairs, queueSize: sizes[(index + turn) % sizes.length] ?? 256 };
  }),
);
const largest = both.map((packed) => ({
  packed,
  inOrder: true,
  mergeable: true,
  pairs: 1,
  queueSize: LARGEST,
}));

for (const setup of [...runs, ...largest]) {
  const { packed, inOrder, mergeable, pairs, queueSize } = setup;
  const words = [
    packed ? 'packed' : 'split',
    ...(inOrder ? ['in order'] : []),
    mergeable ? 'mergeable' : 'not mergeable',
    `${pairs} queue pairs`,
    `of ${queueSize}`,
  ];
  const name = `rings-${Number(packed)}${Number(inOrder)}${Number(mergeable)}-${pairs}-${queueSize}`;
  peerTest(
    t,
    `T39 T58 DPDK gets every frame back: ${words.join(', ')}`,
    [needsRoot, needsProgram('dpdk-testpmd')],
    (t) => returnsEveryFrame(t, { ...setup, folder, name }),
  );
}
