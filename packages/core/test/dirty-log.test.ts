import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import {
  ArrayBufferMapping,
  DirtyLog,
  FEATURE,
  LocalEvent,
  type MemoryMapping,
  WINDOW_STRIDE,
} from '../src/index.js';
import { frame, makeNic } from './support/nic.js';
import { GUEST_BASE, USER_BASE } from './support/ring-memory.js';

const PAGE = 4096;
/** Room for 32 MiB of guest memory, which is more than the NICs of these tests have. */
const LOG_BYTES = 1024;
/** Where used rings are logged here: outside the memory table, inside the log. */
const RECEIVE_LOG = 0x130_0000;
const TRANSMIT_LOG = 0x134_0000;

function makeLog(bytes = LOG_BYTES) {
  const buffer = new ArrayBuffer(bytes);
  const mapping = new ArrayBufferMapping(buffer);
  let released = 0;
  mapping.release = () => {
    released += 1;
  };
  return { log: new DirtyLog(mapping), bits: new Uint8Array(buffer), released: () => released };
}

/** The pages that a log names; forgets them, as a VMM does after a round of copying. */
function harvest(bits: Uint8Array): number[] {
  const pages: number[] = [];
  for (let byte = 0; byte < bits.length; byte += 1) {
    const set = Atomics.exchange(bits, byte, 0);
    for (let bit = 0; bit < 8; bit += 1) if ((set >> bit) & 1) pages.push(byte * 8 + bit);
  }
  return pages;
}

const pagesOf = (address: number, length: number): number[] => {
  const first = Math.floor(address / PAGE);
  const count = length === 0 ? 0 : Math.floor((address + length - 1) / PAGE) - first + 1;
  return Array.from({ length: count }, (_, index) => first + index);
};

const sorted = (pages: Iterable<number>): number[] => [...new Set(pages)].sort((a, b) => a - b);

t.test('B8 T27 a write marks every page that it touches, and only those', async (t) => {
  const { log, bits } = makeLog(4);
  log.mark(0x1fff, 2);
  t.same(harvest(bits), [1, 2], 'two bytes on two pages');
  log.mark(0x3000, 0x1000);
  t.same(harvest(bits), [3], 'a whole page');
  log.mark(0x3fff, 1);
  t.same(harvest(bits), [3], 'the last byte of a page');
  log.mark(0x5000, 0);
  t.same(harvest(bits), [], 'nothing');
  log.mark(0x1_f000, 0x1000);
  t.same(harvest(bits), [31], 'the last page of the log');
  log.mark(0x1_f000, 0x5000);
  t.same(harvest(bits), [31], 'what lies beyond is left out');
  log.mark(-0x1000, 0x1000);
  t.same(harvest(bits), []);
  t.ok(log.covers(0x1_f000, 0x1000));
  t.notOk(log.covers(0x1_f000, 0x1001));
});

t.test('B8 T27 a log begins anywhere in its file, and may be longer than a window', async (t) => {
  const buffer = new ArrayBuffer(64);
  const inside = new DirtyLog(new ArrayBufferMapping(buffer), 60);
  t.equal(inside.size, 4);
  inside.mark(31 * PAGE, 1);
  t.same([...new Uint8Array(buffer)].lastIndexOf(0x80), 63);
  // Two windows of a pretended mapping, the second one at its usual place.
  const windows = [new ArrayBuffer(16), new ArrayBuffer(16)];
  const huge: MemoryMapping = {
    size: WINDOW_STRIDE + 16,
    windows,
    address: 0,
    release() {},
  };
  new DirtyLog(huge).mark((WINDOW_STRIDE + 3) * 8 * PAGE, 1);
  t.same([...new Uint8Array(windows[1] as ArrayBuffer)].indexOf(1), 3);
});

t.test('B8 T27 a VMM that clears bits while they are set gets each one once', async (t) => {
  const pages = 4000;
  const shared = new SharedArrayBuffer(pages / 8 + 4);
  const mapping: MemoryMapping = {
    size: pages / 8,
    windows: [shared as unknown as ArrayBuffer],
    address: 0,
    release() {},
  };
  const log = new DirtyLog(mapping);
  const worker = new Worker(
    `const { workerData, parentPort } = require('node:worker_threads');
     const bits = new Uint8Array(workerData, 0, ${pages / 8});
     const stop = new Int32Array(workerData, ${pages / 8}, 1);
     const found = new Array(${pages}).fill(0);
     parentPort.postMessage('ready');
     for (let last = false; ; ) {
       for (let byte = 0; byte < bits.length; byte += 1) {
         const set = Atomics.exchange(bits, byte, 0);
         for (let bit = 0; bit < 8; bit += 1) if ((set >> bit) & 1) found[byte * 8 + bit] += 1;
       }
       if (last) break;
       last = Atomics.load(stop, 0) === 1;
     }
     parentPort.postMessage(found);`,
    { eval: true, workerData: shared },
  );
  t.teardown(() => worker.terminate());
  const next = () => new Promise((resolve) => worker.once('message', resolve));
  await next();
  for (let page = 0; page < pages; page += 1) {
    log.mark(((page * 7) % pages) * PAGE, 1);
  }
  Atomics.store(new Int32Array(shared, pages / 8, 1), 0, 1);
  t.same(await next(), new Array(pages).fill(1));
});

t.test('A4 B8 LOG_ALL needs a log for all of memory: EFAULT, and nothing changed', async (t) => {
  const { nic, setUp, receive } = makeNic();
  setUp(FEATURE.VERSION_1);
  t.equal(nic.offeredFeatures & FEATURE.LOG_ALL, FEATURE.LOG_ALL);
  const all = FEATURE.VERSION_1 | FEATURE.LOG_ALL;
  t.throws(() => nic.setFeatures(all), { code: 'EFAULT' }, 'no log');
  const short = makeLog(576 - 1);
  nic.setLog(short.log);
  t.throws(() => nic.setFeatures(all), { code: 'EFAULT' }, 'a page of memory has no bit');
  t.equal(nic.features, FEATURE.VERSION_1);
  const exact = makeLog(576);
  nic.setLog(exact.log);
  t.equal(short.released(), 1, 'the log before is given back');
  nic.setFeatures(all);
  t.equal(nic.features, all);

  const refused = makeLog(8);
  t.throws(() => nic.setLog(refused.log), { code: 'EFAULT' }, 'it is needed now');
  t.equal(refused.released(), 1);
  t.throws(() => nic.setLog(undefined), { code: 'EFAULT' });
  const more = { ...receive.region, guestAddress: 0x120_0000, userAddress: 0x1000 };
  t.throws(() => nic.addMemoryRegion(more), { code: 'EFAULT' }, 'memory that cannot be logged');
  t.equal(exact.released(), 0);

  nic.setFeatures(FEATURE.VERSION_1);
  nic.setLog(undefined);
  t.equal(exact.released(), 1);
  t.doesNotThrow(() => nic.addMemoryRegion(more));
  const last = makeLog();
  nic.setLog(last.log);
  await nic.reset();
  t.equal(last.released(), 1, 'reset gives it back, once');
  const unowned = makeLog();
  t.throws(() => nic.setLog(unowned.log), { code: 'EPERM' });
  t.equal(unowned.released(), 1);
});

t.test('A9 B8 T27 the used ring is logged somewhere inside the log, aligned to 4', async (t) => {
  const { nic, setUp, receive } = makeNic();
  setUp();
  const { log } = makeLog();
  const logged = (logAddress: number) => ({ ...receive.addresses, logAddress, flags: 1 });
  t.throws(() => nic.setVringAddresses(0, logged(2)), { code: 'EINVAL' });
  t.throws(() => nic.setVringAddresses(0, { ...logged(0), flags: 2 }), { code: 'EOPNOTSUPP' });
  nic.setVringAddresses(0, logged(0x200_0000));
  t.throws(() => nic.runQueue(0, 'running'), { code: 'EFAULT' }, 'there is no log');
  nic.setLog(log);
  t.throws(() => nic.runQueue(0, 'running'), { code: 'EFAULT' }, 'the log ends before');
  const lastFit = 0x200_0000 - (6 + 8 * 8) - 2;
  nic.setVringAddresses(0, logged(lastFit));
  nic.runQueue(0, 'running');
  t.throws(() => nic.setVringAddresses(0, logged(lastFit + 4)), { code: 'EFAULT' }, 'at once');
  t.throws(() => nic.setLog(makeLog(64).log), { code: 'EFAULT' }, 'a running ring needs it');
  await nic.close();
});

t.test('B8 logging begins and ends under running queues; its event tells of it', async (t) => {
  const { nic, setUp, run, turns, receive, socket, offerBuffers } = makeNic();
  setUp(FEATURE.VERSION_1);
  const { log, bits } = makeLog();
  const event = new LocalEvent(turns);
  nic.setLog(log);
  nic.setLogEvent(event);
  run();
  offerBuffers(8, 2000);
  const deliver = () => {
    socket.toReceive.push(frame(1));
    socket.readable.next();
    turns.settle();
  };
  deliver();
  t.same(harvest(bits), [], 'not before LOG_ALL');
  t.equal(event.pending, 0);
  nic.setFeatures(FEATURE.VERSION_1 | FEATURE.LOG_ALL);
  deliver();
  t.same(harvest(bits), pagesOf(receive.address(0x1000), 72), 'the buffer, not the ring');
  t.ok(event.pending > 0);
  nic.setVringAddresses(0, { ...receive.addresses, logAddress: RECEIVE_LOG, flags: 1 });
  deliver();
  t.same(
    harvest(bits),
    [...pagesOf(receive.address(0x2000), 72), RECEIVE_LOG / PAGE],
    'the ring too, where its address says',
  );
  nic.setVringAddresses(0, receive.addresses);
  nic.setFeatures(FEATURE.VERSION_1);
  deliver();
  t.same(harvest(bits), [], 'logging has ended');
  t.equal(receive.usedIndex, 4, 'no frame was lost over it');
  await nic.close();
});

/** One buffer of the guest's: a gap before it, and how it is cut into descriptors. */
const bufferArbitrary = fc.record({
  gap: fc.integer({ min: 0, max: 5000 }),
  pieces: fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 6000 })), {
    minLength: 1,
    maxLength: 3,
  }),
});

t.test('B8 T34 property: the log names just the pages that the device has written', async () => {
  const size = 1024; // its used ring spans three pages
  await fc.assert(
    fc.asyncProperty(
      fc.array(bufferArbitrary, { minLength: 1, maxLength: 20 }),
      fc.array(fc.integer({ min: 14, max: 9000 }), { maxLength: 25 }),
      fc.integer({ min: 0, max: 0xffff }),
      fc.constantFrom(10, 12),
      fc.boolean(),
      fc.boolean(),
      async (buffers, lengths, base, headerLength, eventIndex, backendHeader) => {
        const { nic, socket, turns, receive, transmit, setUp, port } = makeNic(
          { maxQueueSize: size },
          size,
        );
        if (backendHeader) socket.headerLength = headerLength;
        receive.availableIndex = base;
        receive.usedIndex = base;
        const version = headerLength === 12 ? FEATURE.VERSION_1 : 0n;
        setUp((eventIndex ? FEATURE.EVENT_IDX : 0n) | version, base);
        const { log, bits } = makeLog();
        nic.setLog(log);
        nic.setFeatures(nic.features | FEATURE.LOG_ALL);
        nic.setVringAddresses(0, { ...receive.addresses, logAddress: RECEIVE_LOG, flags: 1 });
        const { descriptorTable, availableRing, usedRing } = transmit.addresses;
        nic.setVringAddresses(1, {
          descriptorTable: descriptorTable + 0x100_0000,
          availableRing: availableRing + 0x100_0000,
          usedRing: usedRing + 0x100_0000,
          logAddress: TRANSMIT_LOG,
          flags: 1,
        });

        // Buffers without room for the header are a fault of the guest's, not this test's.
        let at = 0;
        let descriptor = 0;
        for (const { gap, pieces } of buffers) {
          at += gap;
          const head = descriptor;
          for (const [index, piece] of [16, ...pieces].entries()) {
            const last = index === pieces.length;
            receive.descriptor(descriptor, {
              at,
              length: piece,
              flags: last ? 2 : 3,
              next: descriptor + 1,
            });
            descriptor += 1;
            at += piece;
          }
          receive.offer(head);
        }
        // What no header, frame or used entry of this test consists of, so that every write shows.
        receive.data(0, at).fill(0xaa);
        const ringStart = receive.addresses.usedRing - USER_BASE;
        receive.bytes.fill(0xaa, ringStart + 4, ringStart + 4 + 8 * size);
        const before = receive.bytes.slice();
        for (const [index, length] of lengths.entries()) {
          const bytes = frame(0x40 + (index % 32), length);
          socket.toReceive.push(bytes);
        }
        nic.runQueue(0, 'running');
        nic.runQueue(1, 'running');
        turns.settle();
        port(0).kick.signal();
        socket.readable.next();
        turns.settle();

        const changed: number[] = [];
        const ringPages = pagesOf(receive.addresses.usedRing - USER_BASE, 6 + 8 * size);
        for (const page of pagesOf(0, before.length)) {
          const bytes = [receive.bytes, before].map((all) =>
            all.subarray(page * PAGE, (page + 1) * PAGE),
          ) as [Uint8Array, Uint8Array];
          if (Buffer.compare(...bytes) === 0) continue;
          const inRing = ringPages.indexOf(page);
          changed.push(inRing < 0 ? GUEST_BASE / PAGE + page : RECEIVE_LOG / PAGE + inRing);
        }
        // Words that are written over with what they held: flags, and with EVENT_IDX the event.
        const rewritten = [RECEIVE_LOG, TRANSMIT_LOG];
        if (eventIndex) rewritten.push(RECEIVE_LOG + 4 + 8 * size, TRANSMIT_LOG + 4 + 8 * size);
        const allowed = new Set(rewritten.map((address) => Math.floor(address / PAGE)));
        const logged = harvest(bits);
        await nic.close();
        const must = sorted(changed);
        const missing = must.filter((page) => !logged.includes(page));
        const idle = logged.filter((page) => !must.includes(page) && !allowed.has(page));
        return missing.length === 0 && idle.length === 0;
      },
    ),
    { numRuns: 150 },
  );
});
