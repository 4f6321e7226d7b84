import { spawnSync } from 'node:child_process';
import { HOST_OFFLOADS, NET_FEATURE } from '@rxvhost/core';
import { closeFd, interfaceExists, openTap as openTun, TUN_OFFLOADS } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import { openTap, openTapQueues, setMostOffloads } from '../src/index.js';
import { FrameBuffers } from './frames.js';
import { insideNamespace, ip } from './namespace.js';

const CLOSED_FD = 999;

if (insideNamespace(import.meta.url)) {
  t.test('T54 offloads are those that the driver has accepted, until it has none', async (t) => {
    const tap = openTap({ ifname: 'offload1' });
    const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6 } = NET_FEATURE;
    const { TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO_ECN, TUN_F_USO4, TUN_F_USO6 } = TUN_OFFLOADS;
    const { offloads } = tap;
    t.equal((offloads?.supported ?? 0n) & HOST_OFFLOADS, HOST_OFFLOADS);
    offloads?.accept(GUEST_CSUM | GUEST_TSO4 | GUEST_ECN);
    t.equal(tap.tunOffloads, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN);
    assertSettings(t, 'offload1', /tx-checksumming: on[\s\S]*tx-tcp-segmentation: on/);
    assertSettings(t, 'offload1', /tx-tcp6-segmentation: off/);
    offloads?.accept(GUEST_CSUM | GUEST_TSO6 | GUEST_USO4);
    t.equal(tap.tunOffloads & (TUN_F_TSO4 | TUN_F_USO4), 0, 'USO4 does not go without USO6');
    offloads?.accept(GUEST_CSUM | GUEST_USO4 | GUEST_USO6);
    t.equal(tap.tunOffloads & ~TUN_F_CSUM, TUN_F_USO4 | TUN_F_USO6);
    offloads?.accept(0n);
    t.equal(tap.tunOffloads, 0);
    assertSettings(t, 'offload1', /tx-checksumming: off/);
    tap.close();
  });

  t.test('T54 what a kernel refuses is left out, the rest is set', async (t) => {
    const { fd } = openTun('offload2', { vnetHeader: true });
    const unknown = 0x4000_0000;
    t.equal(setMostOffloads(fd, unknown | TUN_OFFLOADS.TUN_F_CSUM), TUN_OFFLOADS.TUN_F_CSUM);
    closeFd(fd);
    t.throws(() => setMostOffloads(CLOSED_FD, 0), { code: 'EBADF' });
  });

  t.test('T58 frames come to the queues that are steered to, and to no other', async (t) => {
    const taps = openTapQueues({ ifname: 'queues0', queues: 4 });
    t.equal(taps.length, 4);
    const [first, second, ...others] = taps;
    for (const tap of [first, ...others]) tap.setSteering?.(false);
    ip('address add 10.77.9.1/24 dev queues0');
    ip('neighbour add 10.77.9.9 lladdr 52:54:00:00:00:09 dev queues0');
    spawnSync('ping', ['-c', '2', '-W', '0.01', '-i', '0.01', '10.77.9.9']);
    const buffers = new FrameBuffers();
    t.ok((second?.receive(buffers.receive(16)) ?? 0) > 0, 'the one that is on has frames');
    for (const tap of [first, ...others]) t.equal(tap.receive(buffers.receive(16)), 0);
    second?.setSteering?.(false);
    first.setSteering?.(true);
    spawnSync('ping', ['-c', '2', '-W', '0.01', '-i', '0.01', '10.77.9.9']);
    t.ok(first.receive(buffers.receive(16)) > 0, 'and so has one that is on again');
    t.equal(second?.receive(buffers.receive(16)), 0);
    for (const tap of taps) tap.close();
    t.notOk(interfaceExists('queues0'));
    buffers.release();
  });

  t.test('a tap with one queue says what to do when several are asked for', async (t) => {
    ip('tuntap add dev single0 mode tap');
    t.throws(() => openTapQueues({ ifname: 'single0', queues: 2 }), {
      code: 'EINVAL',
      message: /multi_queue/,
    });
    for (const queues of [0, 257, 1.5]) {
      t.throws(() => openTapQueues({ ifname: 'single0', queues }), { code: 'EINVAL' });
    }
    const [tap] = openTapQueues({ ifname: 'single0', queues: 1 });
    t.equal(tap.setSteering, undefined);
    tap.close();
    ip('link delete single0');
  });

  t.test('T54 T58 queues of one tap share its offloads', async (t) => {
    const [first, second] = openTapQueues({ ifname: 'shared0', queues: 2 });
    first.offloads?.accept(NET_FEATURE.GUEST_CSUM);
    second?.offloads?.accept(NET_FEATURE.GUEST_CSUM);
    first.offloads?.accept(0n);
    t.equal(first.tunOffloads, TUN_OFFLOADS.TUN_F_CSUM, 'the second queue still runs');
    second?.offloads?.accept(0n);
    t.equal(first.tunOffloads, 0);
    first.close();
    second?.close();
  });
}

/** What the interface says of itself, where there is a program to ask it. */
function assertSettings(t: Test, ifname: string, pattern: RegExp): void {
  const { status, stdout } = spawnSync('ethtool', ['-k', ifname], { encoding: 'utf8' });
  if (status === 0) t.match(stdout, pattern);
}
