import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ERRNO, type VhostError } from '@rxvhost/core';
import {
  closeFd,
  interfaceExists,
  interfaceIsUp,
  interfaceMtu,
  openTap as openTun,
  setInterfaceUp,
  setOffload,
  setPersistent,
  TUN_FLAGS,
  TUN_OFFLOADS,
  vnetHeaderSize,
} from '@rxvhost/sys';
import { firstValueFrom, timeout } from 'rxjs';
import t, { type Test } from 'tap';
import { adoptTap, openTap, type TapSocket } from '../src/index.js';
import { arpRequest, FrameBuffers, isArpReply } from './frames.js';
import { insideNamespace, ip, openDevice } from './namespace.js';

if (insideNamespace(import.meta.url)) {
  t.test('a tap that was not there is made, brought up, and gone after close', async (t) => {
    const tap = openTap({ ifname: 'made0', mtu: 9000 });
    t.ok(interfaceIsUp('made0'));
    t.equal(interfaceMtu('made0'), 9000);
    t.equal(tap.temporary, true);
    t.equal(tap.headerLength, 12);
    tap.close();
    tap.close();
    t.notOk(interfaceExists('made0'));
  });

  t.test('a tap that was there is brought up and stays after close', async (t) => {
    ip('tuntap add dev kept0 mode tap');
    const tap = openTap({ ifname: 'kept0', mtu: 9000 });
    t.equal(interfaceMtu('kept0'), 1500);
    t.ok(interfaceIsUp('kept0'));
    t.equal(tap.temporary, false);
    tap.close();
    t.ok(interfaceExists('kept0'));
    ip('link delete kept0');
  });

  t.test('a tap stays down when asked', async (t) => {
    const tap = openTap({ ifname: 'down0', up: false });
    t.notOk(interfaceIsUp('down0'));
    tap.close();
  });

  t.test('a tap that was made for several queues serves with one', async (t) => {
    ip('tuntap add dev many0 mode tap multi_queue');
    const tap = openTap({ ifname: 'many0' });
    await assertAnswersArp(t, tap, 'many0');
    tap.close();
    ip('link delete many0');
  });

  t.test('T53 frames keep their place with a header of 12, of 10, and without', async (t) => {
    const tap = openTap({ ifname: 'header0' });
    await assertAnswersArp(t, tap, 'header0');
    tap.setHeaderLength?.(10);
    t.equal(tap.headerLength, 10);
    await assertAnswersArp(t, tap, 'header0');
    tap.close();

    const bare = adoptTap(openTun('header1').fd);
    setInterfaceUp('header1');
    t.equal(bare.headerLength, 0);
    t.equal(bare.setHeaderLength, undefined);
    await assertAnswersArp(t, bare, 'header1');
    bare.close();
  });

  t.test('T53 an adopted tap is asked how its frames are laid out', async (t) => {
    const { fd } = openTun('adopt0', { vnetHeader: true });
    const tap = adoptTap(fd);
    t.equal(tap.ifname, 'adopt0');
    t.equal(tap.temporary, false);
    t.equal(tap.headerLength, 12);
    t.equal(vnetHeaderSize(fd), 12, 'the kernel’s 10 bytes were changed');
    tap.close();

    const withInformation = openDevice('pi0', TUN_FLAGS.IFF_TAP);
    t.throws(() => adoptTap(withInformation), { code: 'EINVAL', message: /IFF_NO_PI/ });
    closeFd(withInformation);
    const tun = openDevice('tun0', TUN_FLAGS.IFF_TUN | TUN_FLAGS.IFF_NO_PI);
    t.throws(() => adoptTap(tun), { code: 'EINVAL', message: /IFF_TAP/ });
    closeFd(tun);
    const unattached = openSync('/dev/net/tun', 'r+');
    t.throws(() => adoptTap(unattached), { code: 'EBADFD' });
    closeSync(unattached);
  });

  t.test('T54 offloads that an earlier owner left on are cleared', async (t) => {
    const { fd } = openTun('offload0', { vnetHeader: true });
    const { TUN_F_CSUM, TUN_F_TSO4 } = TUN_OFFLOADS;
    setOffload(fd, TUN_F_CSUM | TUN_F_TSO4);
    const tap = adoptTap(fd);
    t.equal(tap.tunOffloads, 0);
    tap.close();
  });

  t.test('a batch of frames goes out in one call, scattered over segments', async (t) => {
    const tap = openTap({ ifname: 'batch0' });
    const buffers = new FrameBuffers();
    const frame = new Uint8Array(12 + 1514).fill(0xa5, 12);
    const batch = buffers.transmit(Array<Uint8Array>(200).fill(frame), 200);
    t.equal(tap.send(batch, 50), 150);
    t.same([...batch.results.subarray(50, 200)], Array(150).fill(1526));
    const { stdout } = spawnSync('cat', ['/proc/self/net/dev'], { encoding: 'utf8' });
    t.match(stdout, /batch0: +227100 +150 /, 'the interface counted frames and bytes');
    tap.close();
    buffers.release();
  });

  t.test(
    'T51 a frame that fits no buffer is dropped and counted, the next one is received',
    async (t) => {
      const tap = openTap({ ifname: 'large0' });
      ip('address add 10.77.0.1/24 dev large0');
      ip('neighbour add 10.77.0.9 lladdr 52:54:00:00:00:09 dev large0');
      const command = ['-c', '1', '-W', '0.01', '-s'];
      spawnSync('ping', [...command, '1000', '10.77.0.9']);
      spawnSync('ping', [...command, '10', '10.77.0.9']);
      const buffers = new FrameBuffers();
      const batch = buffers.receive(4, { length: 600 });
      t.equal(tap.receive(batch), 1);
      t.equal(batch.frameCount, 1);
      t.equal(batch.oversized, 1);
      t.equal(batch.frameLengths[0], 12 + 14 + 20 + 8 + 10);
      tap.close();
      buffers.release();
    },
  );

  t.test(
    'T57 readiness lasts until frames are taken, and costs nothing while nobody listens',
    async (t) => {
      const tap = openTap({ ifname: 'ready0' });
      ip('address add 10.77.0.1/24 dev ready0');
      const buffers = new FrameBuffers();
      let emissions = 0;
      tap.send(buffers.transmit([arpRequest(12)]), 0);
      const subscription = tap.readable$.subscribe(() => {
        emissions += 1;
      });
      while (emissions < 3) await nextTurn();
      subscription.unsubscribe();
      emissions = 0;
      for (let turn = 0; turn < 10; turn += 1) await nextTurn();
      t.equal(emissions, 0);
      await firstValueFrom(tap.readable$.pipe(timeout(2000)));
      t.equal(tap.receive(buffers.receive(4)), 1);
      await firstValueFrom(tap.writable$.pipe(timeout(2000)));
      let completed = 0;
      tap.readable$.subscribe({ complete: () => (completed += 1) });
      tap.writable$.subscribe({ complete: () => (completed += 1) });
      tap.close();
      t.equal(completed, 2, 'close ends both observables');
      buffers.release();
    },
  );

  t.test('a tap that is deleted under us fails its observables and drops frames', async (t) => {
    const tap = openTap({ ifname: 'gone0' });
    const buffers = new FrameBuffers();
    const failed = new Promise<VhostError>((resolve) => {
      tap.readable$.subscribe({ next: () => tap.receive(buffers.receive(1)), error: resolve });
    });
    ip('link delete gone0');
    const error = await failed;
    t.equal(error.code, 'EBADFD');
    t.match(error.message, /gone0 is gone/);
    const batch = buffers.transmit([arpRequest(12), arpRequest(12)]);
    t.equal(tap.send(batch, 0), 2);
    t.same([...batch.results.subarray(0, 2)], [-ERRNO.EBADFD, -ERRNO.EBADFD]);
    t.equal(tap.receive(buffers.receive(1)), 0);
    await t.rejects(firstValueFrom(tap.writable$), { code: 'EBADFD' });
    tap.close();
    buffers.release();
  });

  t.test('opening says what is in the way and what to do', async (t) => {
    const tap = openTap({ ifname: 'busy0' });
    t.throws(() => openTap({ ifname: 'busy0' }), { code: 'EBUSY', message: /another process/ });
    tap.close();
    t.throws(() => openTap({ ifname: 'lo' }), {
      code: 'EINVAL',
      message: /lo exists and is no tap/,
    });
    t.match(
      openUnprivileged('missing0'),
      /^EPERM .*missing0.*sudo ip tuntap add dev missing0 mode tap/,
    );
    ip('tuntap add dev other0 mode tap user nobody');
    t.match(openUnprivileged('other0'), /^EPERM .*belongs to another user/);
    ip('tuntap add dev down1 mode tap user root');
    t.match(openUnprivileged('down1'), /^EPERM .*sudo ip link set down1 up/);
    ip('link set down1 up');
    t.equal(openUnprivileged('down1'), 'opened');
  });

  t.test('taps leave nothing behind', async (t) => {
    const { fd } = openTun('last0');
    setPersistent(fd, true);
    setPersistent(fd, false);
    adoptTap(fd).close();
    t.notOk(interfaceExists('last0'));
  });
}

/** Sends an ARP request as the guest would, with what header the tap takes; expects the host's reply. */
async function assertAnswersArp(t: Test, tap: TapSocket, ifname: string): Promise<void> {
  ip(`address replace 10.77.0.1/24 dev ${ifname}`);
  const { headerLength } = tap;
  const buffers = new FrameBuffers();
  const request = arpRequest(headerLength);
  const batch = buffers.transmit([request]);
  t.equal(tap.send(batch, 0), 1);
  t.equal(batch.results[0], request.length);
  await firstValueFrom(tap.readable$.pipe(timeout(2000)));
  // Without a header of the tap's, the device reserves room for its own.
  t.equal(tap.receive(buffers.receive(8, { skip: headerLength === 0 ? 12 : 0 })), 1);
  t.ok(isArpReply(buffers.received(0), headerLength), `the host answers, header ${headerLength}`);
  buffers.release();
}

/** What becomes of `openTap` in a process of root's without root's capabilities. */
function openUnprivileged(ifname: string): string {
  const index = new URL('../src/index.js', import.meta.url).href;
  const script = `import { openTap } from ${JSON.stringify(index)};
    try { openTap({ ifname: ${JSON.stringify(ifname)} }).close(); console.log('opened'); }
    catch (error) { console.log(error.code, error.message); }`;
  // Without the test runner's hooks, which make a process slow to start.
  const command = ['-u', 'NODE_OPTIONS', 'setpriv', '--bounding-set=-all', '--inh-caps=-all'];
  const program = [process.execPath, '--input-type=module', '-e', script];
  const { stdout } = spawnSync('env', [...command, ...program], { encoding: 'utf8' });
  return stdout.trim();
}
