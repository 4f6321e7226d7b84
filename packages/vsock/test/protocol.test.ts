import t from 'tap';
import { isGuestCid, isPort, PacketHeader, packetTypesOf, VsockFeature } from '../src/index.js';

t.test('a packet header has the layout of the specification', async (t) => {
  const header = new PacketHeader();
  Object.assign(header, {
    sourceCid: 0x01020304,
    destinationCid: 2,
    sourcePort: 0xfffffffe,
    destinationPort: 0x8000_0001,
    length: 0x10000,
    type: 1,
    operation: 5,
    flags: 3,
    bufferAllocation: 0xffff_ffff,
    forwardedCount: 0x89abcdef,
  });
  t.equal(
    Buffer.from(header.toBytes()).toString('hex'),
    [
      '0403020100000000',
      '0200000000000000',
      'feffffff',
      '01000080',
      '00000100',
      '0100',
      '0500',
      '03000000',
      'ffffffff',
      'efcdab89',
    ].join(''),
  );
  const bytes = new Uint8Array(47);
  bytes.set(header.toBytes(), 3);
  t.same(new PacketHeader().read(new DataView(bytes.buffer), 3), header);
});

t.test('T78 an address with its upper half set is no address that anybody has', async (t) => {
  const bytes = new Uint8Array(44).fill(0xff);
  bytes.set([2, 0, 0, 0, 1, 0, 0, 0]);
  const header = new PacketHeader().read(new DataView(bytes.buffer), 0);
  t.equal(header.sourceCid, 2 + 2 ** 32);
  t.notOk(isGuestCid(header.sourceCid));
  t.notOk(isGuestCid(header.destinationCid));
});

t.test('the reserved addresses and ports are nobody’s', async (t) => {
  t.same([0, 1, 2, 3, 42, 0xffff_fffe, 0xffff_ffff, 3.5].map(isGuestCid), [
    false,
    false,
    false,
    true,
    true,
    true,
    false,
    false,
  ]);
  t.same([-1, 0, 0xffff_fffe, 0xffff_ffff].map(isPort), [false, true, true, false]);
});

t.test('no feature bit means stream sockets', async (t) => {
  const { STREAM, SEQPACKET, NO_IMPLIED_STREAM } = VsockFeature;
  t.same(packetTypesOf(0n), { stream: true, seqpacket: false });
  t.same(packetTypesOf(SEQPACKET), { stream: true, seqpacket: true });
  t.same(packetTypesOf(SEQPACKET | NO_IMPLIED_STREAM), { stream: false, seqpacket: true });
  t.same(packetTypesOf(STREAM | NO_IMPLIED_STREAM), { stream: true, seqpacket: false });
});
