/** An ARP message for IPv4 over Ethernet (RFC 826). */
export interface ArpMessage {
  readonly operation: 'request' | 'reply';
  readonly senderMac: Uint8Array;
  readonly senderIp: Uint8Array;
  readonly targetMac: Uint8Array;
  readonly targetIp: Uint8Array;
}

const ARP_LENGTH = 28;
/** Hardware type 1 (Ethernet), protocol 0x0800, address lengths 6 and 4. */
const PREFIX = [0, 1, 8, 0, 6, 4, 0];

/** The payload of an ARP frame. */
export function buildArp(message: ArpMessage): Uint8Array {
  const bytes = new Uint8Array(ARP_LENGTH);
  bytes.set(PREFIX);
  bytes[7] = message.operation === 'request' ? 1 : 2;
  bytes.set(message.senderMac, 8);
  bytes.set(message.senderIp, 14);
  bytes.set(message.targetMac, 18);
  bytes.set(message.targetIp, 24);
  return bytes;
}

/** Reads it; `undefined` for anything but an IPv4-over-Ethernet request or reply. The addresses are views. */
export function parseArp(bytes: Uint8Array): ArpMessage | undefined {
  const operation = bytes[7];
  if (bytes.length < ARP_LENGTH || PREFIX.some((byte, at) => bytes[at] !== byte)) return undefined;
  if (operation !== 1 && operation !== 2) return undefined;
  return {
    operation: operation === 1 ? 'request' : 'reply',
    senderMac: bytes.subarray(8, 14),
    senderIp: bytes.subarray(14, 18),
    targetMac: bytes.subarray(18, 24),
    targetIp: bytes.subarray(24, 28),
  };
}
