import { ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { VhostError, WINDOW_SIZE, WINDOW_STRIDE, WindowTable, windowsOf } from '@rxvhost/core';
import t from 'tap';
import {
  closeFd,
  createMemfd,
  duplicateFd,
  fileStatus,
  loadNative,
  mapShared,
  NativeCopier,
  setNonBlocking,
  socketPair,
} from '../src/index.js';
import { mapThrough } from '../src/shared-mapping.js';
import { batchOf, guestMemory, row } from './support/guest-memory.js';
import {
  codeOf,
  collectGarbage,
  eventually,
  mappingsOf,
  messageOf,
  openFds,
  turns,
} from './support/resources.js';

const PAGE = 4096;

t.test('T91 an engine without external buffers is told as such', async (t) => {
  const fd = createMemfd('rxvhost-refused', PAGE);
  // How the addon answers where napi_create_external_arraybuffer says that it may not.
  const refusing = { ...loadNative(), mapShared: () => -constants.errno.EOPNOTSUPP };
  t.throws(() => mapThrough(refusing, fd, 0, PAGE), {
    code: 'EOPNOTSUPP',
    message: /external ArrayBuffers; run under plain Node/,
  });
  closeFd(fd);
});

t.test('a memfd has its size, and nobody can change it (T20)', async (t) => {
  const fd = createMemfd('rxvhost-sealed', 3 * PAGE);
  t.match(fileStatus(fd), { kind: 'regular', size: 3 * PAGE });
  t.throws(() => ftruncateSync(fd, PAGE), { code: 'EPERM' });
  t.throws(() => ftruncateSync(fd, 9 * PAGE), { code: 'EPERM' });
  closeFd(fd);
  t.equal(
    codeOf(() => closeFd(fd)),
    'EBADF',
    'closing twice is told',
  );
  t.equal(
    codeOf(() => createMemfd('none', 0)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => createMemfd('half', 1.5)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => closeFd(Number.NaN)),
    'EBADF',
    'a NaN is not stdin',
  );
});

t.test('files are told apart, duplicated and made non-blocking', async (t) => {
  const [one, other] = socketPair();
  t.equal(fileStatus(one).kind, 'socket');
  const twin = duplicateFd(other);
  setNonBlocking(twin);
  t.equal(fileStatus(twin).kind, 'socket');
  const zero = openSync('/dev/zero', 'r');
  t.match(fileStatus(zero), { kind: 'character', major: 1, minor: 5 });
  for (const fd of [one, other, twin, zero]) closeFd(fd);
  t.equal(
    codeOf(() => fileStatus(twin)),
    'EBADF',
  );
  t.equal(
    codeOf(() => duplicateFd(twin)),
    'EBADF',
  );
});

t.test(
  'two mappings of one file show the same bytes; release detaches every view, once',
  async (t) => {
    const fd = createMemfd('rxvhost-shared', 2 * PAGE);
    const one = mapShared(fd, 0, 2 * PAGE);
    const other = mapShared(fd, PAGE, 100);
    closeFd(fd);
    t.equal(mappingsOf('rxvhost-shared'), 2);
    const bytes = new Uint8Array(one.windows[0] as ArrayBuffer);
    bytes[PAGE + 7] = 42;
    const far = new Uint8Array(other.windows[0] as ArrayBuffer);
    t.equal(far[7], 42);
    t.equal(far.length, 100, 'just the bytes asked for, not the whole page');
    t.ok(one.address > 0 && one.address % PAGE === 0);

    one.release();
    t.equal(mappingsOf('rxvhost-shared'), 1, 'unmapped at once');
    t.equal(bytes.length, 0, 'a view kept past the release is empty (T90)');
    one.release();
    t.equal(far[7], 42, 'a second release does nothing to anybody');
    other.release();
    t.equal(mappingsOf('rxvhost-shared'), 0);
    collectGarbage();
    await turns();
    t.equal(mappingsOf('rxvhost-shared'), 0);
  },
);

t.test('a mapping that nobody released goes with the last of its views', async (t) => {
  let kept: Uint8Array | undefined;
  (() => {
    const fd = createMemfd('rxvhost-forgotten', PAGE);
    kept = new Uint8Array(mapShared(fd, 0, PAGE).windows[0] as ArrayBuffer);
    closeFd(fd);
  })();
  collectGarbage();
  await turns();
  t.equal(mappingsOf('rxvhost-forgotten'), 1, 'a view keeps it');
  t.equal(kept?.[0], 0);
  kept = undefined;
  t.ok(
    await eventually(() => {
      collectGarbage();
      return mappingsOf('rxvhost-forgotten') === 0;
    }),
  );
});

t.test('a large mapping is a row of overlapping windows', async (t) => {
  const size = WINDOW_SIZE + WINDOW_STRIDE + 5 * PAGE;
  const fd = createMemfd('rxvhost-large', size);
  const mapping = mapShared(fd, 0, size);
  closeFd(fd);
  t.same(
    mapping.windows.map((window) => window.byteLength),
    [WINDOW_SIZE, WINDOW_SIZE, WINDOW_STRIDE + 5 * PAGE],
  );
  const views = mapping.windows.map((window) => new Uint8Array(window));
  (views[2] as Uint8Array)[9] = 7;
  t.equal(views[1]?.[WINDOW_STRIDE + 9], 7, 'the same byte in both windows');
  mapping.release();
  t.same(
    views.map((view) => view.length),
    [0, 0, 0],
  );
  t.equal(mappingsOf('rxvhost-large'), 0);
});

t.test('T20 a file that ends too early is refused, with both numbers', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-sys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const fd = openSync(join(folder, 'short'), 'w+');
  ftruncateSync(fd, 2 * PAGE);
  const before = openFds().length;
  t.equal(
    codeOf(() => mapShared(fd, 0, 2 * PAGE + 1)),
    'EINVAL',
  );
  t.match(
    messageOf(() => mapShared(fd, PAGE, 2 * PAGE)),
    /ends at byte 12288, the file has 8192/,
  );
  t.match(
    messageOf(() => mapShared(fd, 100, 10)),
    /not a multiple of 4096/,
  );
  for (const [offset, size] of [
    [0, 0],
    [0, -1],
    [-PAGE, PAGE],
    [0, 0.5],
    [2 ** 53 - 1, PAGE],
  ]) {
    t.equal(
      codeOf(() => mapShared(fd, offset as number, size as number)),
      'EINVAL',
      `${offset} ${size}`,
    );
  }
  closeFd(fd);
  t.equal(
    codeOf(() => mapShared(fd, 0, PAGE)),
    'EBADF',
  );
  const [one, other] = socketPair();
  t.equal(
    codeOf(() => mapShared(one, 0, PAGE)),
    'ENODEV',
    'a socket cannot be mapped',
  );
  closeFd(one);
  closeFd(other);
  t.equal(openFds().length, before - 1);
  t.ok(codeOf(() => mapShared(-1, 0, 1)) === 'EBADF');
});

t.test('T24 memory comes and goes a thousand times and leaves nothing behind', async (t) => {
  const fds = openFds().length;
  for (let i = 0; i < 1000; i += 1) {
    const fd = createMemfd('rxvhost-cycle', 4 * PAGE);
    const mapping = mapShared(fd, 0, 4 * PAGE);
    closeFd(fd);
    new Uint8Array(mapping.windows[0] as ArrayBuffer)[0] = i;
    mapping.release();
  }
  t.equal(openFds().length, fds);
  t.equal(mappingsOf('rxvhost-cycle'), 0);
});

t.test('a batch is refused once its window table was invalidated', async (t) => {
  const memory = guestMemory(16 * PAGE);
  const batch = batchOf(memory, 0, row(3, 64, 128));
  const copier = new NativeCopier();
  const out = new Uint8Array(1024);
  t.equal(copier.gather(batch, 0, out, 0), 3);
  t.same([...batch.results], [64, 64, 64]);
  memory.table.invalidate();
  memory.mapping.release();
  t.equal(copier.gather(batch, 0, out, 0), 3);
  t.same([...batch.results], [-14, -14, -14], 'EFAULT for each');
});

t.test('memory unmapped behind a window table is not followed either', async (t) => {
  const memory = guestMemory(16 * PAGE);
  const batch = batchOf(memory, 0, row(2, 64, 128));
  const out = new Uint8Array(1024);
  new NativeCopier().gather(batch, 0, out, 0);
  memory.mapping.release();
  const next = guestMemory(16 * PAGE);
  t.equal(new NativeCopier().gather(batch, 0, out, 0), 2);
  t.same([...batch.results], [-14, -14], 'although the addresses may be in use again');
  next.mapping.release();

  const late = guestMemory(PAGE);
  const table = new WindowTable(windowsOf(late.mapping, WINDOW_STRIDE));
  late.mapping.release();
  const stale = batchOf({ ...late, table }, 0, row(1, 64, 64));
  new NativeCopier().gather(stale, 0, out, 0);
  t.equal(stale.results[0], -14, 'a table first used afterwards neither');
});

t.test('a batch whose arrays were detached is refused', async (t) => {
  const memory = guestMemory(PAGE);
  const batch = batchOf(memory, 0, row(1, 64, 64));
  new NativeCopier().gather(batch, 0, new Uint8Array(64), 0);
  structuredClone(batch.results, { transfer: [batch.results.buffer as ArrayBuffer] });
  t.equal(
    codeOf(() => new NativeCopier().gather(batch, 0, new Uint8Array(64), 0)),
    'EFAULT',
  );
  memory.mapping.release();
});

t.test('native calls answer errors, not crashes, for arguments of the wrong kind', async (t) => {
  const native: unknown = loadNative();
  const call = (name: string, ...rest: unknown[]): unknown =>
    Reflect.apply(Reflect.get(native as object, name), native, rest);
  t.throws(() => call('createMemfd', 1, 2));
  t.throws(() => call('mapShared', 0, 0, 'x', 0, 0, []));
  for (const name of [
    'gather',
    'scatter',
    'copyFrames',
    'writeFrames',
    'readFrames',
    'sendFrames',
    'receiveFrames',
  ]) {
    t.equal(call(name), -22, name);
    t.equal(call(name, {}, [], 1, 2, 3, 4, 5), -22, name);
  }
  t.equal(call('pollWatch', {}, 1), -9);
  t.equal(call('signalEvent'), undefined);
  t.ok(new VhostError('EINVAL', 'x') instanceof Error);
});
