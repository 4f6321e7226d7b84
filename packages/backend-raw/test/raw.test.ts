import { execFile, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { BACKEND_CHAIN, BackendRefusal, coreModule, ERRNO, type VhostError } from '@rxvhost/core';
import {
  BROADCAST,
  buildEthernet,
  NumberedFrameChecker,
  NumberedFrames,
  parseMac,
} from '@rxvhost/guest';
import { TestGuest } from '@rxvhost/guest/testing';
import {
  addPromiscuousMembership,
  bindPacketSocket,
  closeFd,
  interfaceIndex,
  openPacketSocket,
  setPacketVnetHeader,
  socketPair,
} from '@rxvhost/sys';
import {
  FrameBuffers,
  ip,
  sharedMemory,
  testInPrivateNetwork,
  waitUntilUp,
} from '@rxvhost/sys/testing';
import { Container } from 'inversify';
import { firstValueFrom } from 'rxjs';
import t from 'tap';
import { adoptRaw, openRaw, RawProvider, rawModule } from '../src/index.js';

import { GUEST_MAC, HOST_IP, hostOn, makeVeth, openGuest, PLAIN, slowDown } from './wire.js';

const CLOSED_FD = 999;

if (testInPrivateNetwork(t, import.meta.url)) {
  t.test('a guest on one end of a veth and the host on the other ping each other', async (t) => {
    for (const vnetHeader of [true, false]) {
      const { guestEnd, hostEnd } = makeVeth(t);
      ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
      const guest = openGuest(t, { ifname: guestEnd, vnetHeader });
      const host = hostOn(guest);
      for (const length of [0, 56, 1472]) await host.ping(HOST_IP, length);
      // With -w it waits for three answers; without, for the last one twice as long as for the others.
      const ping = ['-c', '3', '-i', '0.01', '-w', '10', '10.78.0.2'];
      const { stdout } = await promisify(execFile)('ping', ping);
      t.match(stdout, / 3 received/, `both ways, vnet header ${vnetHeader}`);
      ip(`link delete ${guestEnd}`);
    }
  });

  t.test(
    'C4 two guests exchange frames in order, none lost, with a small send buffer',
    async (t) => {
      const { guestEnd, hostEnd } = makeVeth(t);
      slowDown(guestEnd, '200mbit');
      const one = openGuest(t, { ifname: guestEnd, sendBuffer: 8192 });
      const other = openGuest(t, { ifname: hostEnd });
      const frames = new NumberedFrames(BROADCAST, GUEST_MAC);
      const checker = new NumberedFrameChecker();
      const count = 3000;
      const arrived = new Promise<void>((resolve) => {
        other.driver.frames$.subscribe((batch) => {
          for (const frame of batch) checker.receive(frame);
          if (checker.intact === count) resolve();
        });
      });
      for (let sent = 0; sent < count; sent += 1) {
        const frame = frames.make(60 + (sent % 1400));
        while (!one.driver.send(frame)) await firstValueFrom(one.driver.writable$);
      }
      await arrived;
      t.ok(checker.flawless);
      t.equal(checker.intact, count);
      const [, transmit] = one.device.statistics().queues;
      t.equal(transmit?.frames, count);
      t.equal(transmit?.drops.refused, 0);
      t.ok((transmit?.backPressure ?? 0) > 10, 'the queue waited for the socket');
    },
  );

  t.test('with an address only frames for it and for groups are received', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const address = parseMac('52:54:00:00:80:01');
    const guest = openGuest(t, { ifname: guestEnd, address });
    const sender = openGuest(t, { ifname: hostEnd });
    const destinations = [
      '52:54:00:00:80:02',
      '52:54:00:01:80:01',
      '52:54:00:00:80:01',
      '01:00:5e:00:00:01',
      'ff:ff:ff:ff:ff:ff',
    ];
    for (const [index, destination] of destinations.entries()) {
      const payload = Uint8Array.of(index);
      sender.driver.send(buildEthernet(parseMac(destination), GUEST_MAC, PLAIN, payload));
    }
    await guest.frame((frame) => frame[14] === 4);
    t.same(
      guest.frames.map((frame) => frame[14]),
      [2, 3, 4],
    );
  });

  t.test('without an address the interface is promiscuous while the socket is open', async (t) => {
    const { guestEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, qdiscBypass: true });
    t.match(ip(`-details link show ${guestEnd}`), /promiscuity 1/);
    socket.close();
    socket.close();
    t.match(ip(`-details link show ${guestEnd}`), /promiscuity 0/);
  });

  t.test('T17 an interface that goes down and up again goes on working', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
    const guest = openGuest(t, { ifname: guestEnd });
    const faults: VhostError[] = [];
    guest.device.errors$.subscribe(({ error }) => faults.push(error));
    const host = hostOn(guest);
    await host.ping(HOST_IP);
    ip(`link set ${guestEnd} down`);
    guest.driver.send(buildEthernet(BROADCAST, GUEST_MAC, PLAIN, Uint8Array.of(1)));
    while (guest.driver.pendingFrames() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(guest.device.statistics().queues[1]?.drops.refused, 1);
    ip(`link set ${guestEnd} up`);
    for (const end of [guestEnd, hostEnd]) waitUntilUp(end);
    await host.ping(HOST_IP);
    t.same(faults, []);
  });

  t.test('T17 an interface that is deleted fails the observables and drops frames', async (t) => {
    for (const downFirst of [false, true]) {
      const { guestEnd } = makeVeth(t);
      const socket = openRaw({ ifname: guestEnd });
      const buffers = new FrameBuffers();
      const failed = new Promise<VhostError>((resolve) => {
        const next = () => socket.receive(buffers.receive(1));
        socket.readable$.subscribe({ next, error: resolve });
      });
      if (downFirst) {
        ip(`link set ${guestEnd} down`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      ip(`link delete ${guestEnd}`);
      // What waits for a deleted interface does not keep the process: the test has to.
      const keepAlive = setInterval(() => {}, 1000);
      const error = await failed;
      clearInterval(keepAlive);
      t.equal(error.code, 'ENODEV');
      t.match(error.message, new RegExp(`${guestEnd} is gone`));
      const frame = new Uint8Array(72);
      const batch = buffers.transmit([frame, frame]);
      t.equal(socket.send(batch, 0), 2);
      t.same([...batch.results.subarray(0, 2)], [-ERRNO.ENXIO, -ERRNO.ENXIO]);
      await t.rejects(firstValueFrom(socket.writable$), { code: 'ENODEV' });
      socket.close();
      buffers.release();
    }
  });

  t.test('frames that nobody receives in time are counted', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, receiveBuffer: 4096 });
    const sender = openRaw({ ifname: hostEnd });
    const buffers = new FrameBuffers();
    const frame = new Uint8Array(12 + 1000);
    t.equal(sender.send(buffers.transmit(Array<Uint8Array>(100).fill(frame)), 0), 100);
    t.ok(socket.kernelDrops > 50);
    const drops = socket.kernelDrops;
    socket.close();
    t.equal(socket.kernelDrops, drops);
    sender.close();
    buffers.release();
  });

  t.test('C4 it tells how full its send buffer is', async (t) => {
    const { guestEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, sendBuffer: 100_000 });
    t.equal(socket.sendBufferFill(), 0);
    slowDown(guestEnd, '8kbit');
    const buffers = new FrameBuffers();
    const frame = new Uint8Array(12 + 1500);
    const sent = socket.send(buffers.transmit(Array<Uint8Array>(200).fill(frame)), 0);
    t.ok(sent > 20 && sent < 200, `${sent} frames fit`);
    t.ok(socket.sendBufferFill() >= 0.9);
    socket.close();
    buffers.release();
  });

  t.test('opening says what is in the way and what to do', async (t) => {
    t.throws(() => openRaw({ ifname: 'a/b' }), { code: 'EINVAL', message: /not allowed/ });
    t.throws(() => openRaw({ ifname: 'none0' }), { code: 'ENODEV', message: /no interface none0/ });
    t.throws(() => openRaw({ ifname: 'lo', address: new Uint8Array(5) }), { code: 'EINVAL' });
    const index = new URL('../src/index.js', import.meta.url).href;
    const script = `import { openRaw } from ${JSON.stringify(index)};
      try { openRaw({ ifname: 'lo' }); } catch (error) { console.log(error.code, error.message); }`;
    const command = ['--reuid=nobody', '--clear-groups', process.execPath, '--input-type=module'];
    const { stdout } = spawnSync('setpriv', [...command, '-e', script], { encoding: 'utf8' });
    t.match(stdout, /^EPERM .*CAP_NET_RAW/);
  });

  t.test('C10 the provider takes packet sockets and says why it refuses others', async (t) => {
    const { guestEnd } = makeVeth(t);
    const provider = new RawProvider();
    const refusal = (fd: number) => {
      const answer = provider.open(fd);
      if (answer instanceof BackendRefusal) return answer.error.code;
      answer.close();
      return 'taken';
    };
    t.equal(refusal(CLOSED_FD), 'EBADF');
    const file = openSync('/dev/null', 'r');
    t.equal(refusal(file), 'ENOTSOCK');
    closeSync(file);
    for (const type of ['stream', 'datagram'] as const) {
      const [one, other] = socketPair(type);
      t.equal(refusal(one), 'ESOCKTNOSUPPORT', `a Unix ${type} socket`);
      closeFd(one);
      closeFd(other);
    }
    const unbound = openPacketSocket();
    t.equal(refusal(unbound), 'EINVAL', 'bound to no interface');
    bindPacketSocket(unbound, interfaceIndex(guestEnd));
    t.equal(refusal(unbound), 'taken');
    t.ok(fstatSync(unbound), 'the fd stays its caller’s');
    closeFd(unbound);
  });

  t.test('C10 an adopted socket is asked how its frames are laid out', async (t) => {
    for (const vnetHeader of [true, false]) {
      const { guestEnd, hostEnd } = makeVeth(t);
      ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
      const index = interfaceIndex(guestEnd);
      const fd = openPacketSocket();
      addPromiscuousMembership(fd, index);
      setPacketVnetHeader(fd, vnetHeader);
      bindPacketSocket(fd, index);
      const socket = adoptRaw(fd);
      t.equal(socket.ifname, guestEnd);
      t.equal(socket.headerLength, vnetHeader ? 12 : 0);
      const guest = new TestGuest(socket, sharedMemory(), { features: 0n });
      t.equal(socket.headerLength, vnetHeader ? 10 : 0, 'as the guest’s features say');
      await hostOn(guest).ping(HOST_IP, 500);
      await guest.close();
      t.throws(() => fstatSync(fd), { code: 'EBADF' });
      ip(`link delete ${guestEnd}`);
    }
  });

  t.test('C10 the module puts the provider into the chain', async (t) => {
    const container = new Container();
    container.load(coreModule, rawModule);
    const chain = container.get(BACKEND_CHAIN);
    t.same(
      chain.providers.map(({ name }) => name),
      ['raw'],
    );
    t.throws(() => chain.open(CLOSED_FD), { code: 'ENOTSOCK' });
  });
}
