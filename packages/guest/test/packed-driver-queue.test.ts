import t from 'tap';
import { BufferList, NO_CHAIN, PackedDriverQueue } from '../src/index.js';
import { plainArena } from './support/arena.js';
import { ModelPackedDevice } from './support/model-packed-device.js';

/** Sixteen bytes of a descriptor, as virtio 1.2, 2.8.6 lays them out. */
const bytes16 = (address: string, length: string, id: string, flags: string) =>
  `${address} ${length} ${id} ${flags}`.replaceAll(' ', '');

t.test('T39 a packed ring holds the very bytes that the specification gives', async (t) => {
  const arena = plainArena(1 << 16);
  const queue = new PackedDriverQueue(arena, 3, {
    eventIndex: true,
    inOrder: true,
    indirectEntries: 4,
  });
  const { descriptorTable, availableRing, usedRing } = queue.addresses;
  const hex = (address: number, length: number) =>
    Buffer.from(arena.read(address, length)).toString('hex');
  const ring = (index: number) => hex(descriptorTable + 16 * index, 16);

  const two = new BufferList().addReadable(0x1122_3344_5566, 0x10).addWritable(0x7788, 0x20);
  queue.add(two);
  t.equal(ring(0).slice(28), '0000', 'hidden before it is published');
  t.ok(queue.publish(), 'a zeroed device area asks for kicks');
  t.equal(ring(0), bytes16('665544332211 0000', '10000000', '0000', '8100'), 'AVAIL, NEXT');
  t.equal(ring(1), bytes16('8877 000000000000', '20000000', '0000', '8200'), 'AVAIL, WRITE');
  arena.writeUint32(usedRing, (2 << 16) | 0x8002);
  queue.add(new BufferList().addReadable(0x99, 1).addWritable(0xaa, 2), true);
  t.ok(queue.publish(), 'position 2 in round 1 is the one that the device waits for');
  const table = hex(descriptorTable + 32, 8);
  t.equal(ring(2), bytes16(table, '20000000', '0200', '8400'), 'AVAIL, INDIRECT, 2 * 16 bytes');
  const entries = Number(arena.readUint64(descriptorTable + 32));
  t.equal(hex(entries, 16), bytes16('9900000000000000', '01000000', '0000', '0000'));
  t.equal(hex(entries + 16, 16), bytes16('aa00000000000000', '02000000', '0000', '0200'));

  t.notOk(queue.enableCallbacks(1));
  t.equal(hex(availableRing, 4), '01800200', 'position 1 of round 1, at a descriptor');
  // The device has used the first chain: AVAIL and USED, its two descriptors skipped.
  arena.writeUint32(descriptorTable + 8, 0x20);
  arena.writeUint32(descriptorTable + 12, 0x8082 << 16);
  t.equal(queue.takeUsed(), 0);
  t.equal(queue.usedLength, 0x20);
  t.equal(queue.takeUsed(), NO_CHAIN);
  t.notOk(queue.enableCallbacks(1));
  t.equal(hex(availableRing, 4), '00000200', 'position 0 of round 2');
  queue.disableCallbacks();
  t.equal(hex(availableRing, 4), '00000100');

  t.ok(queue.add(new BufferList().addReadable(0x5, 6)) === 0 && !queue.publish(), 'past the event');
  t.equal(ring(0), bytes16('0500000000000000', '06000000', '0000', '0080'), 'round 2: USED');
  arena.writeUint32(usedRing, 1 << 16);
  queue.add(new BufferList().addReadable(0x5, 6));
  t.notOk(queue.publish(), 'the device wants none');
  arena.writeUint32(usedRing, 3 << 16);
  t.equal(queue.add(two), NO_CHAIN, 'full');
});

t.test('T39 a chain may fill the whole packed ring, round after round', async (t) => {
  for (const size of [1, 3, 8]) {
    const arena = plainArena(1 << 16);
    const queue = new PackedDriverQueue(arena, size);
    const device = new ModelPackedDevice(arena, queue, false);
    const list = new BufferList(size);
    for (let index = 0; index < size; index += 1) list.addWritable(0x1000 + index, 1);
    for (let round = 0; round < 5; round += 1) {
      const id = queue.add(list);
      t.equal(queue.add(list), NO_CHAIN);
      queue.publish();
      const chain = device.take();
      t.equal(chain.descriptors, size);
      t.notOk(device.waiting);
      device.complete(chain, round);
      t.equal(queue.takeUsed(), id, `size ${size}, round ${round}`);
      t.equal(queue.takeUsed(), NO_CHAIN);
    }
  }
});
