import t from 'tap';
import {
  buildEthernet,
  crc32,
  EtherType,
  formatIp,
  formatMac,
  internetChecksum,
  NumberedFrameChecker,
  NumberedFrames,
  parseEthernet,
  parseIp,
  parseMac,
  TinyHost,
} from '../src/index.js';

const text = (value: string) => new TextEncoder().encode(value);

/** Two hosts on one wire that delivers in a later turn and shows each frame to `tamper` first. */
function twoHosts(tamper: (frame: Uint8Array) => Uint8Array | undefined = (frame) => frame) {
  const hosts: TinyHost[] = [];
  const wire = (to: number) => (frame: Uint8Array) => {
    const sent = tamper(frame);
    if (sent !== undefined) setImmediate(() => hosts[to]?.receive(sent));
  };
  const a = new TinyHost(parseMac('02:00:00:00:00:0a'), parseIp('10.0.0.1'), wire(1));
  const b = new TinyHost(parseMac('02:00:00:00:00:0b'), parseIp('10.0.0.2'), wire(0));
  hosts.push(a, b);
  return { a, b };
}

t.test('checksums are the published ones', async (t) => {
  t.equal(crc32(text('123456789')), 0xcbf43926, 'CRC-32 check value');
  t.equal(crc32(new Uint8Array(0)), 0);
  t.equal(crc32(new Uint8Array(32)), 0x190a55ad, '32 zeros');
  // The example of RFC 1071, section 3: the sum is ddf2, the checksum its complement.
  t.equal(internetChecksum(Uint8Array.of(0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7)), 0x220d);
  t.equal(internetChecksum(Uint8Array.of(0xff, 0xff, 0x01)), 0xfeff, 'an odd byte counts high');
});

t.test('addresses are read and written as people write them', async (t) => {
  t.equal(formatMac(parseMac('02:00:00:Ab:cD:01')), '02:00:00:ab:cd:01');
  t.equal(formatIp(parseIp('10.0.255.1')), '10.0.255.1');
  for (const wrong of ['', '02:00:00:00:00', '02-00-00-00-00-01', '0g:00:00:00:00:01']) {
    t.throws(() => parseMac(wrong), { code: 'EINVAL' }, wrong);
  }
  for (const wrong of ['', '10.0.0', '10.0.0.256', '10.0.0.1.2', 'a.b.c.d']) {
    t.throws(() => parseIp(wrong), { code: 'EINVAL' }, wrong);
  }
});

t.test('two hosts find each other by ARP and ping each other', async (t) => {
  const { a, b } = twoHosts();
  t.strictSame(await a.resolve(b.ip), b.mac);
  t.ok((await b.ping(a.ip)) > 0, 'the asked host has learned the address from the request');
  for (const length of [0, 1, 56, 1472]) {
    t.ok((await a.ping(b.ip, length)) > 0, `${length} bytes`);
  }
});

t.test('a host gives up when nothing or nothing right comes back', async (t) => {
  const silent = twoHosts(() => undefined);
  await t.rejects(silent.a.resolve(silent.b.ip, 10), { code: 'ETIMEDOUT' });
  const { a, b } = twoHosts((frame) => {
    if (parseEthernet(frame)?.type === EtherType.IPV4) frame[frame.length - 1] = 1;
    return frame;
  });
  await t.rejects(a.ping(b.ip, 56, 10), { code: 'ETIMEDOUT' }, 'a damaged echo is not answered');
  const waiting = a.ping(b.ip, 56);
  setTimeout(() => a.close(), 5);
  await t.rejects(waiting, { code: 'ECANCELED' }, 'closing ends the wait');
});

t.test('frames that are not for the host are left to others', async (t) => {
  const { a } = twoHosts();
  const other = parseMac('02:00:00:00:00:0c');
  for (const frame of [
    new Uint8Array(5),
    buildEthernet(a.mac, other, EtherType.ARP, new Uint8Array(28)),
    buildEthernet(a.mac, other, EtherType.IPV4, new Uint8Array(20)),
    buildEthernet(a.mac, other, EtherType.EXPERIMENT, new Uint8Array(46)),
  ]) {
    t.notOk(a.receive(frame), `${frame.length} bytes`);
  }
});

t.test('numbered frames tell of loss, damage, doubles and reordering', async (t) => {
  const source = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));
  const frames = [26, 64, 1514, 65535, 100, 100, 100, 100].map((length) => source.make(length));
  const frame = (index: number) => frames[index] as Uint8Array;
  t.throws(() => source.make(25), { code: 'EMSGSIZE' });

  const good = new NumberedFrameChecker();
  for (const each of frames) t.ok(good.receive(each));
  t.ok(good.flawless);
  t.match(good, { intact: 8, bytes: 26 + 64 + 1514 + 65535 + 400 });
  t.notOk(good.receive(new Uint8Array(64)), 'another protocol');
  t.notOk(good.receive(new Uint8Array(3)), 'too short to say');

  for (const [what, order, counts] of [
    ['loss', [0, 2], { missing: 1, intact: 2 }],
    ['a double', [0, 0], { outOfOrder: 1, intact: 1 }],
    ['reordering', [1, 0], { missing: 1, outOfOrder: 1, intact: 1 }],
  ] as const) {
    const checker = new NumberedFrameChecker();
    for (const index of order) checker.receive(frame(index));
    t.match(checker, counts, what);
    t.notOk(checker.flawless, what);
  }
  const cut = new NumberedFrameChecker();
  cut.receive(frame(1).subarray(0, 63));
  const changed = frame(1).slice();
  changed[40] = (changed[40] as number) ^ 1;
  cut.receive(changed);
  t.match(cut, { damaged: 2, intact: 0, flawless: false }, 'cut short, and one bit turned');
});
