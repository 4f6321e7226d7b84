import { buildArp, buildEthernet, internetChecksum, parseArp, parseMac } from '@rxvhost/guest';
import t from 'tap';
import { Gateway } from '../src/ip/gateway.js';
import { buildIpv6, formatIpv6, parseIpv6 } from '../src/ip/ip-packet.js';

const GATEWAY = parseMac('52:55:0a:00:02:02');
const GUEST = parseMac('52:54:00:00:00:01');
const gateway = new Gateway(GATEWAY);

const arp = (sender: readonly number[], target: readonly number[], operation = 'request') =>
  buildEthernet(
    new Uint8Array(6).fill(255),
    GUEST,
    0x0806,
    buildArp({
      operation: operation === 'request' ? 'request' : 'reply',
      senderMac: GUEST,
      senderIp: Uint8Array.from(sender),
      targetMac: new Uint8Array(6),
      targetIp: Uint8Array.from(target),
    }),
  );

const icmp = (source: string, message: readonly number[]) => {
  const packet = buildIpv6(
    parseIpv6(source),
    parseIpv6('ff02::1'),
    58,
    255,
    Uint8Array.from(message),
  );
  return buildEthernet(parseMac('33:33:00:00:00:01'), GUEST, 0x86dd, packet);
};

const solicitation = (target: string) => [135, 0, 0, 0, 0, 0, 0, 0, ...parseIpv6(target)];

/** Whether the checksum of the ICMPv6 message in a frame holds. */
function holds(frame: Uint8Array): boolean {
  const pseudo = [...frame.subarray(22, 54), 0, 0, ...frame.subarray(18, 20), 0, 0, 0, 58];
  return internetChecksum(Uint8Array.of(...pseudo, ...frame.subarray(54))) === 0;
}

t.test('every IPv4 address that a guest asks for is the gateway’s', async (t) => {
  for (const target of [
    [10, 0, 0, 1],
    [192, 168, 7, 9],
  ]) {
    const answer = gateway.answer(arp([10, 0, 0, 2], target));
    if (!answer) return t.fail('no answer');
    t.same([...answer.subarray(0, 12)], [...GUEST, ...GATEWAY]);
    const reply = parseArp(answer.subarray(14));
    t.equal(reply?.operation, 'reply');
    t.same([...(reply?.senderIp ?? [])], target);
    t.same([...(reply?.senderMac ?? [])], [...GATEWAY]);
    t.same([...(reply?.targetIp ?? [])], [10, 0, 0, 2]);
  }
});

t.test('what wants no answer gets none', async (t) => {
  t.equal(gateway.answer(arp([0, 0, 0, 0], [10, 0, 0, 2])), undefined, 'an ARP probe');
  t.equal(gateway.answer(arp([10, 0, 0, 2], [10, 0, 0, 2])), undefined, 'an announcement');
  t.equal(gateway.answer(arp([10, 0, 0, 2], [10, 0, 0, 1], 'reply')), undefined, 'a reply');
  t.equal(gateway.answer(arp([10, 0, 0, 2], [10, 0, 0, 1]).subarray(0, 30)), undefined, 'half');
  t.equal(gateway.answer(icmp('::', solicitation('fe80::9'))), undefined, 'a probe of IPv6');
  t.equal(gateway.answer(icmp('fe80::9', solicitation('fe80::9'))), undefined, 'itself');
  t.equal(gateway.answer(icmp('fe80::9', [135, 0, 0, 0])), undefined, 'half a solicitation');
  t.equal(gateway.answer(icmp('fe80::9', [136, 0, 0, 0])), undefined, 'an advertisement');
  t.equal(gateway.answer(icmp('fe80::9', [143, 0, 0, 0])), undefined, 'a listener report');
});

t.test('what is for others goes on', async (t) => {
  t.equal(gateway.answer(icmp('fd00::9', [128, 0, 0, 0])), false, 'an echo request');
  t.equal(gateway.answer(buildEthernet(GATEWAY, GUEST, 0x0800, new Uint8Array(40))), false);
  t.equal(gateway.answer(new Uint8Array(13)), false);
});

t.test('every IPv6 address that a guest asks for is the gateway’s', async (t) => {
  const answer = gateway.answer(icmp('fd00::9', solicitation('2001:db8::5')));
  if (!answer) return t.fail('no answer');
  t.same([...answer.subarray(0, 12)], [...GUEST, ...GATEWAY]);
  t.ok(holds(answer));
  t.equal(answer[21], 255, 'hop limit');
  t.equal(formatIpv6(answer.subarray(22, 38)), '2001:db8:0:0:0:0:0:5');
  t.equal(answer[54], 136);
  t.same([...answer.subarray(62, 78)], [...parseIpv6('2001:db8::5')]);
  t.same([...answer.subarray(78)], [2, 1, ...GATEWAY]);
});

t.test('a guest that looks for a router finds the gateway', async (t) => {
  for (const [source, destination] of [
    ['fe80::9', 'fe80::9'],
    ['::', 'ff02::1'],
  ] as const) {
    const answer = gateway.answer(icmp(source, [133, 0, 0, 0, 0, 0, 0, 0]));
    if (!answer) return t.fail('no answer');
    t.ok(holds(answer));
    t.equal(answer[54], 134);
    t.equal(formatIpv6(answer.subarray(22, 38)), 'fe80:0:0:0:5055:aff:fe00:202');
    t.same([...answer.subarray(38, 54)], [...parseIpv6(destination)]);
    t.equal(new DataView(answer.buffer).getUint16(60), 1800, 'for half an hour');
  }
});

t.test('IPv6 addresses are read as they are written', async (t) => {
  for (const [text, whole] of [
    ['::', '0:0:0:0:0:0:0:0'],
    ['::1', '0:0:0:0:0:0:0:1'],
    ['fe80::', 'fe80:0:0:0:0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['::ffff:10.0.0.1', '0:0:0:0:0:ffff:a00:1'],
    ['2001:db8::a:b', '2001:db8:0:0:0:0:a:b'],
  ] as const) {
    t.equal(formatIpv6(parseIpv6(text)), whole, text);
  }
});
