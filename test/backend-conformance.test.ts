import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { openMacvtap } from '@rxvhost/backend-macvtap';
import { openRaw } from '@rxvhost/backend-raw';
import { openTap } from '@rxvhost/backend-tap';
import type { PacketSocket } from '@rxvhost/core';
import { backendConformance, type ConformanceOptions, SocketPeer } from '@rxvhost/core/testing';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import { insidePrivateNetwork, ip } from '@rxvhost/sys/testing';
import t from 'tap';
import { needsProgram, needsRoot, needsTun, peerTest } from './support/requirements.js';

// A busy machine needs its time.
t.setTimeout(120_000);

/** Guest memory, as native code needs it. */
function memory(bytes: number) {
  const size = (bytes + 4095) & ~4095;
  const fd = createMemfd('conformance', size);
  const mapping = mapShared(fd, 0, size);
  closeFd(fd);
  return mapping;
}

/** The kernel takes every frame at once: nothing on this machine holds it up. */
const options: ConformanceOptions = {
  memory,
  openFiles: () => readdirSync('/proc/self/fd').length,
  fullAfter: false,
};

/** A backend whose other end is a packet socket on an interface. */
function bench(backend: PacketSocket, ifname: string) {
  const socket = openRaw({ ifname, vnetHeader: false });
  const peer = new SocketPeer(socket, { memory });
  const release = () => {
    peer.release();
    socket.close();
  };
  return { backend, peer, release };
}

/** A cable between `near` and `far`, both up. */
function cable(near: string, far: string): void {
  ip(`link add ${near} type veth peer name ${far}`);
  for (const end of [near, far]) ip(`link set ${end} up`);
  const up = (end: string) => /state UP/.test(ip(`link show dev ${end}`));
  const deadline = performance.now() + 30_000;
  while (!(up(near) && up(far))) if (performance.now() > deadline) throw new Error('no carrier');
}

const inNetwork = process.env['RXVHOST_TEST_INSIDE_NAMESPACE'] === '1';
const programs = ['unshare', 'ip', 'tc'].map(needsProgram);
const needs = [needsRoot, needsTun, ...programs];
const missing = needs.map((unmet) => unmet()).some((reason) => reason !== undefined);

if (missing) {
  peerTest(t, 'backends on interfaces conform', needs, async () => {});
} else if (inNetwork || insidePrivateNetwork(import.meta.url)) {
  for (const rings of ['split', 'packed'] as const) {
    const chains = `with chains from ${rings} rings`;
    const here = { ...options, rings };

    t.test(`C10 C15 a tap conforms, ${chains}`, (t) =>
      backendConformance(t, () => bench(openTap({ ifname: 'conform0' }), 'conform0'), here),
    );

    for (const vnetHeader of [false, true]) {
      t.test(
        `C15 T56 a packet socket conforms, virtio-net header ${vnetHeader}, ${chains}`,
        async (t) => {
          cable('near0', 'far0');
          const raw = () => openRaw({ ifname: 'near0', vnetHeader });
          await backendConformance(t, () => bench(raw(), 'far0'), here);
          ip('link delete near0');
        },
      );
    }

    t.test(`C10 C15 a macvtap conforms, ${chains}`, async (t) => {
      cable('lower0', 'far1');
      ip('link add link lower0 name macvtap0 type macvtap mode bridge');
      ip('link set macvtap0 up');
      await backendConformance(t, () => bench(openMacvtap({ ifname: 'macvtap0' }), 'far1'), here);
      ip('link delete lower0');
    });
  }

  t.test('C4 a packet socket conforms whose interface sends slowly', async (t) => {
    cable('near0', 'far0');
    execFileSync('tc', 'qdisc add dev near0 root tbf rate 3mbit burst 4kb limit 1mb'.split(' '));
    const raw = () => openRaw({ ifname: 'near0', sendBuffer: 64 * 1024 });
    await backendConformance(t, () => bench(raw(), 'far0'), { ...options, fullAfter: 2000 });
    ip('link delete near0');
  });
}
