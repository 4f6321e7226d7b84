import { FEATURE, LocalEvent, loopback, NET_FEATURE, NullSocket, VhostNet } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { GuestNic, plugIn } from '../src/index.js';
import { plainArena } from './support/arena.js';
import { plugged, sendAll, turn, until } from './support/nics.js';

t.setTimeout(120_000);

/** What a guest does: how it lays out its chains, and which frames it sends in which bursts. */
interface Script {
  readonly features: bigint;
  readonly queueSize: number;
  readonly receiveBufferLength: number;
  readonly shape: { readonly headerDescriptors: number; readonly frameDescriptors: number };
  readonly bursts: readonly (readonly number[])[];
}

const feature = (bit: bigint) => fc.constantFrom(0n, bit);
const script: fc.Arbitrary<Script> = fc.record({
  features: fc
    .tuple(
      feature(FEATURE.EVENT_IDX),
      feature(FEATURE.INDIRECT_DESC),
      feature(FEATURE.IN_ORDER),
      feature(NET_FEATURE.MRG_RXBUF),
    )
    .map((bits) => bits.reduce((all, bit) => all | bit, FEATURE.VERSION_1)),
  queueSize: fc.constantFrom(16, 64, 256),
  receiveBufferLength: fc.constantFrom(200, 700, 1526),
  shape: fc.record({
    headerDescriptors: fc.nat(3),
    frameDescriptors: fc.integer({ min: 1, max: 4 }),
  }),
  bursts: fc.array(fc.array(fc.integer({ min: 14, max: 1500 }), { minLength: 1, maxLength: 40 }), {
    minLength: 1,
    maxLength: 5,
  }),
});

/** The script on a NIC that sends every frame back: what came back, and what the NIC has counted. */
async function play(script: Script, rings: bigint): Promise<object> {
  const { features, queueSize, receiveBufferLength, shape, bursts } = script;
  const guest = plugged(loopback(), {
    features: features | rings,
    queueSize,
    receiveBufferLength,
    transmitShape: shape,
    receiveShape: shape,
    indirect: (features & FEATURE.INDIRECT_DESC) !== 0n,
  });
  const { nic, device, received } = guest;
  const errors: string[] = [];
  device.errors$.subscribe(({ queue, error }) => errors.push(`${queue}: ${error.message}`));
  nic.driver.errors$.subscribe((error) => errors.push(error.message));
  try {
    let sent = 0;
    for (const burst of bursts) {
      const frames = burst.map((length, index) => new Uint8Array(length).fill(sent + index));
      await sendAll(nic, frames);
      sent += burst.length;
      const done = () => {
        const [receive] = device.statistics().queues;
        const dropped = receive?.drops.oversized ?? 0;
        return received.length + dropped === sent && nic.driver.pendingFrames() === 0;
      };
      await until(done);
    }
    const counted = device.statistics().queues.map(({ frames, bytes, drops, errors }) => ({
      ...{ frames, bytes, drops, errors },
    }));
    return {
      received: received.map((frame) => Buffer.from(frame).toString('hex')),
      counted,
      errors,
    };
  } finally {
    await guest.close();
  }
}

t.test('packed and split rings give the same result for the same script', async (t) => {
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(script, async (script) => {
      const split = JSON.stringify(await play(script, 0n));
      const packed = JSON.stringify(await play(script, FEATURE.RING_PACKED));
      if (split !== packed) throw new Error(`split: ${split}\npacked: ${packed}`);
      compared += 1;
    }),
    { numRuns: 150 },
  );
  t.ok(compared >= 150, `${compared} scripts`);
});

for (const rings of [0n, FEATURE.RING_PACKED]) {
  const name = rings === 0n ? 'split' : 'packed';
  t.test(`T19 one ${name} queue is reset under pending kicks while the others run`, async (t) => {
    const features = FEATURE.VERSION_1 | FEATURE.EVENT_IDX | FEATURE.RING_RESET | rings;
    const nic = new GuestNic(plainArena(16 << 20), {
      features,
      pairs: 2,
      queueSize: 8,
      makeEvent: () => new LocalEvent(),
    });
    const device = new VhostNet({ backends: [new NullSocket(), loopback()] });
    const errors: string[] = [];
    device.errors$.subscribe(({ queue, error }) => errors.push(`${queue}: ${error.message}`));
    plugIn(device, nic);
    nic.start();
    const { transmit } = nic.pair(0);
    let returned = 0;
    nic.pair(1).frames$.subscribe((batch) => {
      returned += batch.count;
    });
    const frame = new Uint8Array(60).fill(1);
    for (let round = 0; round < 40; round += 1) {
      for (let sent = 0; sent < 1 + (round % 8); sent += 1) nic.pair(0).enqueue(frame);
      nic.pair(0).flush();
      nic.pair(1).send(frame);
      // The kick is pending, or the device is in the middle of what it was about.
      await turn(round % 3);
      device.runQueue(1, 'stopped');
      t.equal(device.queueSettled(1), undefined);
      transmit.reset();
      device.setVringBase(1, undefined);
      nic.ring(1).kick.signal();
      device.runQueue(1, 'running');
    }
    await until(() => returned === 40);
    await turn(3);
    const before = device.statistics().queues[1]?.frames ?? 0;
    for (let sent = 0; sent < 5; sent += 1) nic.pair(0).enqueue(frame);
    nic.pair(0).flush();
    await until(() => nic.pair(0).pendingFrames() === 0);
    t.equal(device.statistics().queues[1]?.frames, before + 5, 'it goes on from the beginning');
    t.same(errors, []);
    await device.close();
    nic.close();
  });
}
