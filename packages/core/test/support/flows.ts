/** Frames of TCP and UDP flows, and the hashes that are published for some. */

/** The key and the flows with which makers of network cards verify receive-side scaling. */
export const VERIFICATION_KEY = Uint8Array.from(
  (
    '6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa'.match(
      /../g,
    ) ?? []
  ).map((hex) => Number.parseInt(hex, 16)),
);

export const VERIFICATION_VECTORS = [
  vector('66.9.149.187', 2794, '161.142.100.80', 1766, 0x323e8fc2, 0x51ccc178),
  vector('199.92.111.2', 14230, '65.69.140.83', 4739, 0xd718262a, 0xc626b0ea),
  vector('24.19.198.95', 12898, '12.22.207.184', 38024, 0xd2d0a5de, 0x5c2b394a),
  vector('38.27.205.30', 48228, '209.142.163.6', 2217, 0x82989176, 0xafc7327f),
  vector('153.39.163.191', 44251, '202.188.127.2', 1303, 0x5d1809c5, 0x10e828a2),
  vector('3ffe:2501:200:1fff::7', 2794, '3ffe:2501:200:3::1', 1766, 0x2cc18cd5, 0x40207d3d),
  vector('3ffe:501:8::260:97ff:fe40:efab', 14230, 'ff02::1', 4739, 0x0f0c461c, 0xdde51bbf),
  vector(
    '3ffe:1900:4545:3:200:f8ff:fe21:67cf',
    44251,
    'fe80::200:f8ff:fe21:67cf',
    38024,
    0x4b61e985,
    0x02d1feef,
  ),
];

function vector(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  addresses: number,
  withPorts: number,
) {
  return { source, sourcePort, destination, destinationPort, addresses, withPorts };
}

export interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly protocol: number;
  readonly vlan?: number;
  /** An IPv6 extension header before the transport header. */
  readonly extension?: number;
}

/** An Ethernet frame of the flow; checksums are left out. */
export function flowFrame(flow: Flow): Uint8Array {
  const v6 = flow.source.includes(':');
  const transport = new Uint8Array(20);
  const ports = new DataView(transport.buffer);
  ports.setUint16(0, flow.sourcePort);
  ports.setUint16(2, flow.destinationPort);
  const ip = v6 ? ipv6(flow, transport) : ipv4(flow, transport);
  const tag = flow.vlan === undefined ? [] : [0x81, 0x00, flow.vlan >> 8, flow.vlan & 0xff];
  const type = v6 ? [0x86, 0xdd] : [0x08, 0x00];
  return Uint8Array.from([...new Uint8Array(12).fill(2), ...tag, ...type, ...ip]);
}

function ipv4(flow: Flow, transport: Uint8Array): number[] {
  const header = new Uint8Array(20);
  header[0] = 0x45;
  header[9] = flow.protocol;
  header.set(flow.source.split('.').map(Number), 12);
  header.set(flow.destination.split('.').map(Number), 16);
  return [...header, ...transport];
}

function ipv6(flow: Flow, transport: Uint8Array): number[] {
  const header = new Uint8Array(40);
  header[0] = 0x60;
  header[6] = flow.extension ?? flow.protocol;
  header.set(ipv6Address(flow.source), 8);
  header.set(ipv6Address(flow.destination), 24);
  const extension = flow.extension === undefined ? [] : [flow.protocol, 0, 0, 0, 0, 0, 0, 0];
  return [...header, ...extension, ...transport];
}

function ipv6Address(text: string): number[] {
  const [left = '', right = ''] = text.split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':'));
  const before = words(left);
  const after = words(right);
  const missing = new Array(8 - before.length - after.length).fill('0');
  return [...before, ...missing, ...after].flatMap((word) => {
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 0xff];
  });
}
