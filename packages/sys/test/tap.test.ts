import { openSync } from 'node:fs';
import t from 'tap';
import {
  attachQueue,
  closeFd,
  detachQueue,
  FdPoll,
  FrameKeep,
  interfaceExists,
  interfaceHardwareAddress,
  interfaceIndex,
  interfaceIsUp,
  interfaceMtu,
  openTap,
  readFrames,
  setInterfaceHardwareAddress,
  setInterfaceMtu,
  setInterfaceUp,
  setOffload,
  setPersistent,
  setSendBuffer,
  setVnetHeaderSize,
  setVnetLittleEndian,
  socketPair,
  TUN_FLAGS,
  TUN_OFFLOADS,
  tapInterface,
  tunFeatures,
  vnetHeaderSize,
  writeFrames,
} from '../src/index.js';
import { batchOf, framesIn, guestMemory, row } from './support/guest-memory.js';
import { codeOf, eventually, messageOf, withoutRoot } from './support/resources.js';

const skip = withoutRoot();
const NAME = `rxs${process.pid % 100_000}`;

t.test('an interface that is not there is ENODEV', async (t) => {
  t.equal(interfaceExists('rxvhost-none'), false);
  t.equal(interfaceExists('a-name-that-is-far-too-long'), false);
  t.equal(interfaceExists('lo'), true);
  t.ok(interfaceIndex('lo') >= 1);
  t.equal(interfaceMtu('lo') >= 1500, true);
  for (const call of [
    interfaceIndex,
    interfaceMtu,
    interfaceIsUp,
    interfaceHardwareAddress,
    setInterfaceUp,
  ]) {
    t.equal(
      codeOf(() => call('rxvhost-none')),
      'ENODEV',
      call.name,
    );
  }
  t.match(
    messageOf(() => interfaceMtu('rxvhost-none')),
    /MTU of "rxvhost-none" \(ENODEV\)/,
  );
  t.equal(
    codeOf(() => setInterfaceHardwareAddress('lo', new Uint8Array(5))),
    'EINVAL',
  );
});

t.test('what is no tap is told so', async (t) => {
  const [one, other] = socketPair();
  const zero = openSync('/dev/zero', 'r');
  t.equal(
    codeOf(() => tapInterface(one)),
    'ENOTTY',
  );
  t.equal(
    codeOf(() => tapInterface(zero)),
    'ENOTTY',
  );
  t.equal(
    codeOf(() => vnetHeaderSize(one)),
    'ENOTTY',
  );
  t.equal(
    codeOf(() => setOffload(-1, 0)),
    'EBADF',
  );
  for (const fd of [one, other, zero]) closeFd(fd);
  t.equal(
    codeOf(() => tunFeatures(one)),
    'EBADF',
  );
  t.equal(
    codeOf(() => openTap('x', { device: '/dev/rxvhost-none' })),
    'ENOENT',
  );
  t.equal(
    codeOf(() => openTap('sixteen-letters-')),
    'ENAMETOOLONG',
  );
});

t.test('a tap is made, configured, and gone with its last fd', { skip }, async (t) => {
  const tap = openTap(NAME, { vnetHeader: true });
  t.equal(tap.ifname, NAME);
  t.match(tapInterface(tap.fd), {
    ifname: NAME,
    flags: TUN_FLAGS.IFF_TAP | TUN_FLAGS.IFF_NO_PI | TUN_FLAGS.IFF_VNET_HDR,
  });
  t.ok(tunFeatures(tap.fd) & TUN_FLAGS.IFF_VNET_HDR);
  setVnetHeaderSize(tap.fd, 12);
  t.equal(vnetHeaderSize(tap.fd), 12);
  t.equal(
    codeOf(() => setVnetHeaderSize(tap.fd, 3)),
    'EINVAL',
    'T53',
  );
  setVnetLittleEndian(tap.fd, true);
  setOffload(tap.fd, TUN_OFFLOADS.TUN_F_CSUM | TUN_OFFLOADS.TUN_F_TSO4);
  t.equal(
    codeOf(() => setOffload(tap.fd, 0x4000)),
    'EINVAL',
  );
  setOffload(tap.fd, 0);
  setSendBuffer(tap.fd, 1 << 20);
  t.equal(
    codeOf(() => setSendBuffer(tap.fd, 0)),
    'EINVAL',
  );
  setInterfaceHardwareAddress(NAME, Uint8Array.of(2, 0, 0, 0, 0, 7));
  t.same([...interfaceHardwareAddress(NAME)], [2, 0, 0, 0, 0, 7]);
  setInterfaceMtu(NAME, 9000);
  t.equal(interfaceMtu(NAME), 9000);
  t.equal(
    codeOf(() => setInterfaceMtu(NAME, 1)),
    'EINVAL',
  );
  setInterfaceUp(NAME);
  t.ok(interfaceIsUp(NAME));
  setInterfaceUp(NAME, false);
  t.notOk(interfaceIsUp(NAME));
  t.equal(
    codeOf(() => openTap(NAME, { vnetHeader: true })),
    'EBUSY',
  );
  closeFd(tap.fd);
  t.equal(interfaceExists(NAME), false);
  const lettered = openTap('');
  t.match(lettered.ifname, /^tap\d+$/, 'the kernel chose a name');
  closeFd(lettered.fd);
});

t.test('queues come, go and come back; a persistent tap stays', { skip }, async (t) => {
  const first = openTap(NAME, { multiQueue: true });
  const second = openTap(NAME, { multiQueue: true });
  t.equal(
    codeOf(() => openTap(NAME)),
    'EINVAL',
    'all fds must say the same',
  );
  detachQueue(second.fd);
  t.equal(
    codeOf(() => detachQueue(second.fd)),
    'EINVAL',
  );
  attachQueue(second.fd);
  setPersistent(first.fd, true);
  closeFd(second.fd);
  closeFd(first.fd);
  t.ok(interfaceExists(NAME));
  const again = openTap(NAME, { multiQueue: true });
  setPersistent(again.fd, false);
  closeFd(again.fd);
  t.notOk(interfaceExists(NAME));
});

t.test('frames are written to a tap and read from it, one each', { skip }, async (t) => {
  const memory = guestMemory(1 << 20);
  const { fd } = openTap(NAME, { vnetHeader: true });
  const poll = new FdPoll(fd);
  setVnetHeaderSize(fd, 12);

  // An ARP request from the outside for an address that is the tap's own MAC's host: the interface
  // takes any frame, which is what counts here.
  const batch = batchOf(memory, 0, [
    [[0, 72]],
    [
      [100, 12],
      [200, 60],
    ],
    [[300, 20]],
    [[400, 72]],
  ]);
  for (const at of [12, 200, 412])
    memory.bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6], at);
  t.equal(writeFrames(fd, batch, 0), 4);
  t.same([...batch.results], [-5, -5, -22, -5], 'an interface that is down answers EIO');
  setInterfaceUp(NAME);
  t.equal(writeFrames(fd, batch, 0), 4);
  t.same(
    [...batch.results],
    [72, 72, -22, 72],
    'a frame without a whole Ethernet header is EINVAL',
  );

  // A fresh interface announces itself over IPv6; should it not, an ARP-less neighbour would.
  let readable = false;
  const subscription = poll.readable$.subscribe(() => {
    readable = true;
    subscription.unsubscribe();
  });
  const space = batchOf(memory, 0, row(8, 2048, 2048, 8192));
  t.ok(await eventually(() => readable, 8000), 'the host sends something by itself');
  t.ok(readFrames(fd, space, new FrameKeep()) >= 1);
  const [frame = new Uint8Array()] = framesIn(space);
  t.ok(frame.length >= 12 + 14 + 40, `${frame.length} bytes with header`);
  t.same([...frame.subarray(24, 26)].length, 2);
  t.equal(space.frameLengths[0], frame.length);

  poll.close();
  closeFd(fd);
  memory.mapping.release();
});

t.test(
  'T42 a tap whose interface is deleted ends its poll instead of spinning',
  { skip },
  async (t) => {
    const memory = guestMemory(1 << 16);
    const first = openTap(NAME, { multiQueue: true });
    const second = openTap(NAME, { multiQueue: true });
    setPersistent(first.fd, false);
    const poll = new FdPoll(second.fd);
    let emissions = 0;
    let completed = false;
    const codes: unknown[] = [];
    poll.readable$.subscribe({
      next: () => {
        emissions += 1;
        const batch = batchOf(memory, 0, row(2, 2048, 2048));
        codes.push(codeOf(() => readFrames(second.fd, batch, new FrameKeep())));
      },
      complete: () => {
        completed = true;
      },
    });
    const { spawnSync } = await import('node:child_process');
    const deleted = spawnSync('ip', ['link', 'del', NAME]);
    if (deleted.status !== 0) {
      t.comment('no ip command here: the interface cannot be deleted');
    } else {
      t.ok(await eventually(() => completed));
      t.ok(emissions < 100, `${emissions} emissions`);
      t.ok(codes.includes('EBADFD'), String(codes[0]));
    }
    poll.close();
    closeFd(first.fd);
    closeFd(second.fd);
    memory.mapping.release();
  },
);
