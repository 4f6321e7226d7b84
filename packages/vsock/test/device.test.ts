/** The host's device between rings and an endpoint that only records: no connections here. */
import {
  ArrayBufferMapping,
  DirtyLog,
  FEATURE,
  LOG_PAGE,
  type QueueFault,
  type VhostDeviceOptions,
} from '@rxvhost/core';
import { BufferList } from '@rxvhost/guest';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  EVENT_TRANSPORT_RESET,
  HEADER_BYTES,
  HOST_CID,
  Operation,
  PacketHeader,
  PacketType,
  VhostVsock,
  type VhostVsockOptions,
  VSOCK_REQUESTS,
  VsockFeature,
} from '../src/index.js';
import { ScriptedEndpoint } from './support/scripted-endpoint.js';
import { GUEST_CID, settle, VsockGuest } from './support/vsock-guest.js';

t.setTimeout(120_000);

const { RING_PACKED, IN_ORDER, RING_RESET } = FEATURE;
const COMMON = FEATURE.VERSION_1 | FEATURE.INDIRECT_DESC | FEATURE.EVENT_IDX;
const LAYOUTS = [
  ['split rings', 0n],
  ['split rings, in order', IN_ORDER],
  ['packed rings', RING_PACKED],
  ['packed rings, in order', RING_PACKED | IN_ORDER],
] as const;

function header(fields: Partial<PacketHeader> = {}): PacketHeader {
  return Object.assign(new PacketHeader(), {
    sourceCid: GUEST_CID,
    destinationCid: HOST_CID,
    sourcePort: 1025,
    destinationPort: 52,
    type: PacketType.STREAM,
    operation: Operation.RW,
    bufferAllocation: 262144,
    ...fields,
  });
}

function bytesOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, at) => (at * 7 + (at >> 8)) & 0xff));
}

function same(seen: unknown[][], sent: unknown[][]): boolean {
  return (
    seen.length === sent.length &&
    seen.every(([length, payload], index) => {
      const [sentLength, sentPayload] = sent[index] as [number, Buffer];
      return length === sentLength && sentPayload.equals(payload as Buffer);
    })
  );
}

interface Machine {
  readonly guest: VsockGuest;
  readonly device: VhostVsock;
  readonly endpoint: ScriptedEndpoint;
  readonly faults: QueueFault[];
}

function newMachine(
  t: Test,
  features: bigint,
  options: Partial<VhostVsockOptions> & VhostDeviceOptions & { plugged?: boolean } = {},
): Machine {
  const guest = new VsockGuest(features, 64);
  const endpoint = new ScriptedEndpoint();
  const device = new VhostVsock({ guestCid: GUEST_CID, endpoint, ...options });
  const faults: QueueFault[] = [];
  device.errors$.subscribe((fault) => faults.push(fault));
  if (options.plugged !== false) guest.plugInto(device);
  t.teardown(() => device.close());
  return { guest, device, endpoint, faults };
}

for (const [layout, rings] of LAYOUTS) {
  const FEATURES = COMMON | rings;
  const machine = (t: Test, options: Parameters<typeof newMachine>[2] = {}) =>
    newMachine(t, FEATURES, options);

  t.test(
    `${layout}: D9 T78 packets reach the endpoint whole however they are cut into descriptors`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      const cuts = fc.array(
        fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 9000 })),
        {
          maxLength: 20,
        },
      );
      const packet = fc.record({ size: fc.integer({ min: 0, max: 70_000 }), cuts });
      await fc.assert(
        fc.asyncProperty(fc.array(packet, { minLength: 1, maxLength: 6 }), async (packets) => {
          endpoint.received.length = 0;
          for (const { size, cuts } of packets) {
            guest.send(header({ length: size }), bytesOf(size), cuts);
          }
          await settle();
          const seen = endpoint.received.map(({ header: { length }, payload }) => [
            length,
            payload,
          ]);
          const sent = packets.map(({ size }) => [size, bytesOf(size)]);
          return guest.takeSent() === packets.length && same(seen, sent);
        }),
        { numRuns: 40 },
      );
      const { transmit } = device.statistics();
      t.ok(transmit.packets > 0 && transmit.bytes > 0, 'they are counted');
      t.equal(transmit.errors, 0);
    },
  );

  t.test(`${layout}: D9 a packet of 64 KiB and one of a megabyte go through`, async (t) => {
    const { guest, endpoint } = machine(t);
    for (const size of [65_536, 1 << 20]) {
      const payload = bytesOf(size);
      guest.send(header({ length: size }), payload, [HEADER_BYTES, 4096]);
      await settle();
      const packet = endpoint.received.pop();
      t.ok(packet?.payload.equals(payload), `${size} bytes arrive unchanged`);
    }
  });

  t.test(
    `${layout}: D5 D9 T78 what cannot be right is dropped, counted and given back`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      guest.sendBytes(Buffer.alloc(HEADER_BYTES - 1)); // shorter than a header
      guest.send(header({ length: 100 }), bytesOf(99)); // longer than what came
      guest.send(header({ length: 100 }), bytesOf(101)); // shorter than what came
      guest.send(header({ length: 0xffff_ffff }));
      guest.send(header({ sourceCid: GUEST_CID + 1 }));
      guest.send(header({ sourceCid: HOST_CID }));
      guest.send(header({ destinationCid: 1 }));
      guest.send(header({ destinationCid: 77 }));
      const high = header().toBytes();
      high[4] = 1; // a source of over 32 bits
      guest.sendBytes(Buffer.from(high));
      guest.send(header({ operation: Operation.REQUEST }));
      await settle();
      t.equal(guest.takeSent(), 10, 'every buffer comes back');
      t.same(device.statistics().transmit.drops, { malformed: 4, spoofed: 3, misaddressed: 2 });
      t.same(
        endpoint.received.map(({ header: { operation } }) => operation),
        [Operation.REQUEST],
        'only the good one is served',
      );
    },
  );

  t.test(`${layout}: D9 a guest reaches another address only where that was allowed`, async (t) => {
    const { guest, device, endpoint } = machine(t, { reaches: (cid) => cid === 7 });
    guest.send(header({ destinationCid: 7 }));
    guest.send(header({ destinationCid: 8 }));
    await settle();
    t.same(
      endpoint.received.map(({ header: { destinationCid } }) => destinationCid),
      [7],
    );
    t.equal(device.statistics().transmit.drops.misaddressed, 1);
  });

  t.test(`${layout}: D9 packets fill the guest’s buffers however those are cut`, async (t) => {
    const { guest, device, endpoint } = machine(t);
    const shapes = [[4140], [HEADER_BYTES, 4096], [10, 30, 3, 1, 100, 5000], [1, 1, 1, 60_000]];
    const sizes = [4096, 4000, 5000, 0];
    for (const shape of shapes) guest.give(0, shape);
    endpoint.send(
      ...sizes.map((size) => ({
        header: header({ sourceCid: HOST_CID, destinationCid: GUEST_CID }),
        payload: bytesOf(size),
      })),
    );
    await settle();
    const packets = guest.takePackets();
    t.same(
      packets.map(({ header: { length, bufferAllocation } }) => [length, bufferAllocation]),
      sizes.map((size) => [size, 262144]),
    );
    t.ok(packets.every(({ payload }, index) => payload.equals(bytesOf(sizes[index] ?? 0))));
    t.match(device.statistics().receive, { packets: 4, bytes: 13_096, errors: 0 });
  });

  t.test(
    `${layout}: T73 without buffers of the guest nothing spins, and its own packets are still taken`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      const packet = () => ({ header: header(), payload: bytesOf(10) });
      endpoint.send(packet(), packet());
      await settle();
      const { asked } = endpoint;
      t.equal(device.statistics().receive.starved, 1);
      for (let sent = 0; sent < 100; sent += 1) guest.send(header());
      await settle();
      t.equal(endpoint.received.length, 100, 'the transmit queue is drained');
      t.equal(endpoint.asked, asked, 'nobody asked the endpoint again');
      guest.give(0, [4140]);
      await settle();
      t.equal(guest.takePackets().length, 1, 'one buffer, one packet');
      guest.give(0, [4140]);
      await settle();
      t.equal(guest.takePackets().length, 1);
      t.equal(endpoint.sendable, false);
    },
  );

  t.test(
    `${layout}: D4 T73 too many unsent replies stop the transmit queue until the guest takes some`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      endpoint.onReceive = () => {
        endpoint.queuedReplies = 1024;
        endpoint.send({ header: header({ operation: Operation.RST }), payload: Buffer.alloc(0) });
      };
      for (let sent = 0; sent < 5; sent += 1) guest.send(header());
      await settle();
      t.equal(endpoint.received.length, 1, 'it stops at once');
      t.equal(guest.takeSent(), 1, 'what was not looked at is not used');
      t.equal(device.statistics().transmit.replyPauses, 1, 'and does not look again by itself');
      guest.send(header());
      await settle();
      t.equal(endpoint.received.length, 1, 'nor when the guest kicks');
      endpoint.onReceive = () => {};
      endpoint.queuedReplies = 1023;
      guest.give(0, [4140]);
      await settle();
      t.equal(guest.takePackets().length, 1);
      t.equal(
        endpoint.received.length,
        6,
        'a reply that is gone lets it go on, in order, nothing lost',
      );
    },
  );

  t.test(`${layout}: B9 a broken chain stops its own queue until the next kick`, async (t) => {
    const { guest, device, endpoint, faults } = machine(t);
    const { queue, kick } = guest.ring(1);
    queue.add(new BufferList().addWritable(guest.arena.allocate(64), 64));
    queue.publish();
    kick.signal();
    await settle();
    t.match(faults[0], { queue: 1, error: { code: 'EINVAL' } });
    const before = faults.length;
    guest.send(header());
    await settle();
    if ((rings & IN_ORDER) === 0n) {
      t.equal(endpoint.received.length, 1, 'the next kick goes on behind it');
      t.same([before, faults.length], [1, 1]);
    } else {
      t.equal(endpoint.received.length, 0, 'in order nothing passes it');
      t.equal(faults.length, before + 1, 'it is looked at once for each kick');
      device.runQueue(1, 'stopped');
      guest.resetQueue(1);
      guest.startQueues(device, [1]);
      guest.send(header());
      await settle();
      t.equal(endpoint.received.length, 1, 'until the queue is reset');
    }
  });

  t.test(
    `${layout}: D9 an endpoint or a user that throws is reported, and the guest served on`,
    async (t) => {
      const { guest, endpoint, faults } = machine(t);
      endpoint.onReceive = () => {
        throw new Error('a user of a connection failed');
      };
      guest.send(header());
      guest.send(header());
      await settle();
      t.equal(faults.length, 2);
      t.match(faults[0], { queue: 1, error: { code: 'EIO' } });
      t.equal(guest.takeSent(), 2);
    },
  );

  t.test(`${layout}: D9 a queue that is stopped from within a packet loses nothing`, async (t) => {
    const { guest, device, endpoint } = machine(t);
    endpoint.onReceive = () => device.runQueue(1, 'stopped');
    for (let sent = 0; sent < 3; sent += 1) guest.send(header({ sourcePort: sent }));
    await settle();
    t.equal(endpoint.received.length, 1);
    t.equal(
      device.vringBase(1),
      guest.baseAfter(1),
      'its base is behind the packet that was served',
    );
    endpoint.onReceive = () => {};
    device.runQueue(1, 'running');
    await settle();
    t.same(
      endpoint.received.map(({ header: { sourcePort } }) => sourcePort),
      [0, 1, 2],
    );
  });

  t.test(
    `${layout}: B8 every page that a packet or an event is written to is logged`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      const log = new ArrayBuffer(0x2000);
      device.setLog(new DirtyLog(new ArrayBufferMapping(log)));
      device.setFeatures(FEATURES | FEATURE.LOG_ALL);
      guest.give(0, [HEADER_BYTES, LOG_PAGE, 3 * LOG_PAGE]);
      const pieces = [...guest.ring(0).buffers.values()][0] ?? [];
      endpoint.send({ header: header(), payload: bytesOf(LOG_PAGE + 100) });
      await settle();
      const bits = new Uint8Array(log);
      const marked = (address: number) => {
        const page = Math.floor(address / LOG_PAGE);
        return ((bits[page >> 3] as number) & (1 << (page & 7))) !== 0;
      };
      const [head, first, second] = pieces.map(({ address }) => address) as [
        number,
        number,
        number,
      ];
      for (const address of [head, first, first + LOG_PAGE - 1, second, second + 99]) {
        t.ok(marked(address), `page of 0x${address.toString(16)}`);
      }
      t.notOk(marked(second + 3 * LOG_PAGE - 1), 'but not what was not written');
    },
  );

  t.test(
    `${layout}: D6 T76 a transport reset waits for a buffer of the guest’s, and is one event`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      device.resetTransport();
      device.resetTransport();
      await settle();
      t.equal(endpoint.resets.length, 2);
      t.equal(endpoint.resets[0]?.code, 'ECONNRESET');
      t.equal(device.statistics().event.transportResets, 0);
      device.runQueue(2, 'stopped');
      device.runQueue(2, 'running');
      guest.give(2, [4]);
      guest.give(2, [4]);
      await settle();
      t.same(guest.takeBytes(2), Buffer.from(Uint32Array.of(EVENT_TRANSPORT_RESET).buffer));
      t.equal(guest.takeBytes(2), undefined, 'only one event');
      t.equal(device.statistics().event.transportResets, 1);
    },
  );

  t.test(
    `${layout}: T76 connections survive a pause, and end when the driver begins anew`,
    async (t) => {
      const { guest, device, endpoint } = machine(t);
      guest.send(header());
      await settle();
      for (const index of [0, 1, 2]) device.runQueue(index, 'stopped');
      t.equal(device.vringBase(1), guest.baseAfter(1));
      device.setVringBase(1, guest.baseAfter(1));
      for (const index of [0, 1, 2]) device.runQueue(index, 'running');
      await settle();
      t.equal(endpoint.resets.length, 0, 'a guest that was paused goes on');

      for (const index of [0, 1, 2]) device.runQueue(index, 'stopped');
      guest.reboot();
      guest.startQueues(device);
      await settle();
      t.equal(endpoint.resets.length, 1, 'a guest that has booted knows of no connection');
      guest.give(2, [4]);
      await settle();
      t.equal(guest.takeBytes(2), undefined, 'nor has its driver to be told');
    },
  );

  t.test(`${layout}: T76 a queue that its driver resets alone ends no connection`, async (t) => {
    const { guest, device, endpoint } = newMachine(t, FEATURES | RING_RESET);
    const begin = (index: number) => {
      guest.resetQueue(index);
      guest.startQueues(device, [index]);
    };
    for (const index of [1, 0, 2]) {
      guest.send(header());
      await settle();
      device.runQueue(index, 'stopped');
      begin(index);
      await settle();
    }
    guest.send(header());
    await settle();
    t.equal(endpoint.received.length, 4);
    t.equal(endpoint.resets.length, 0, 'each of the three, one after the other');

    device.runQueue(1, 'stopped');
    device.runQueue(0, 'stopped');
    for (const index of [0, 1]) begin(index);
    await settle();
    t.equal(endpoint.resets.length, 1, 'but not when the receive queue stood still as well');
  });

  t.test(
    `${layout}: T76 a driver with a history is told that its connections are gone`,
    async (t) => {
      const { guest, device, endpoint } = machine(t, { plugged: false });
      guest.plugInto(device, [0, 2]);
      guest.startQueues(device, [1], guest.baseAfter(100)); // migrated here, restored, or another back-end's before
      guest.give(2, [4]);
      await settle();
      t.equal(endpoint.resets.length, 1);
      t.same(guest.takeBytes(2), Buffer.alloc(4));
      await device.reset();
      endpoint.resets.length = 0;
      guest.reboot();
      guest.plugInto(device);
      guest.give(2, [4]);
      await settle();
      t.equal(endpoint.resets.length, 0, 'the next guest begins anew');
      t.equal(guest.takeBytes(2), undefined);
    },
  );

  t.test(`${layout}: T76 connections end with the front-end`, async (t) => {
    const { device, endpoint } = machine(t);
    await device.reset();
    t.equal(endpoint.resets[0]?.code, 'ECONNRESET');
    t.equal(endpoint.features, 0n);
  });

  t.test(
    `${layout}: D9 A4 it offers stream and seqpacket sockets, and the endpoint hears what was taken`,
    async (t) => {
      const { device, endpoint } = machine(t, { plugged: false });
      for (const bit of Object.values(VsockFeature)) t.ok((device.offeredFeatures & bit) !== 0n);
      device.setOwner();
      device.setFeatures(VsockFeature.SEQPACKET | FEATURE.VERSION_1);
      t.equal(endpoint.features, VsockFeature.SEQPACKET | FEATURE.VERSION_1);
      const plain = machine(t, { plugged: false, seqpacket: false }).device;
      t.equal(plain.offeredFeatures & VsockFeature.SEQPACKET, 0n);
    },
  );

  t.test(`${layout}: D1 D9 the guest reads its address as 64 bits`, async (t) => {
    const { device } = machine(t, { guestCid: 0xffff_fffe, plugged: false });
    t.same(device.config.read(0, 8), Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0));
    t.throws(() => device.config.read(4, 5), { code: 'EINVAL' });
    t.throws(() => device.config.write(0, Uint8Array.of(9), false), { code: 'EPERM' });
    t.throws(() => device.config.write(4, Uint8Array.of(1), true), { code: 'EINVAL' });
    device.config.write(0, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0), true);
    t.equal(device.guestCid, 9);
    for (const guestCid of [0, 1, 2, 0xffff_ffff, 2 ** 32, 3.5]) {
      t.throws(
        () => machine(t, { guestCid, plugged: false }),
        { code: 'EINVAL' },
        String(guestCid),
      );
    }
  });

  t.test(
    `${layout}: A14 D9 the requests of /dev/vhost-vsock set the address and let the queues run`,
    async (t) => {
      const { guest, device, endpoint } = machine(t, { plugged: false });
      const { VSOCK_SET_GUEST_CID, VSOCK_SET_RUNNING } = VSOCK_REQUESTS;
      t.equal(VSOCK_SET_GUEST_CID.code, 0x4008af60);
      t.equal(VSOCK_SET_RUNNING.code, 0x4004af61);
      const u64 = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer);
      const int = (value: number) => new Uint8Array(Int32Array.of(value).buffer);
      t.equal(await device.ioctl(VSOCK_SET_GUEST_CID.code, u64(99n)), 0);
      t.equal(device.guestCid, 99);
      t.equal(await device.ioctl(VSOCK_SET_GUEST_CID.code, u64(2n)), -22);
      t.equal(await device.ioctl(VSOCK_SET_GUEST_CID.code, u64((1n << 32n) + 5n)), -22);
      t.equal(await device.ioctl(VSOCK_SET_RUNNING.code, int(1)), -1, 'nobody owns it yet');
      guest.plugInto(device, []);
      t.equal(await device.ioctl(VSOCK_SET_RUNNING.code, int(1)), -14, 'its rings are not set');
      guest.startQueues(device, [0, 1]);
      for (const index of [0, 1]) device.runQueue(index, 'stopped');
      t.equal(await device.ioctl(VSOCK_SET_RUNNING.code, int(1)), 0);
      t.equal(device.state, 'running');
      guest.send(header({ sourceCid: 99 }));
      await settle();
      t.equal(endpoint.received.length, 1);
      t.equal(await device.ioctl(VSOCK_SET_RUNNING.code, int(0)), 0);
      t.equal(device.state, 'owned');
    },
  );
}
