/** Feature bits of a vsock device (virtio 1.2, 5.10.3). None negotiated means stream sockets only. */
export const VsockFeature = {
  /** Stream sockets. */
  STREAM: 1n << 0n,
  /** Sockets that keep message borders. */
  SEQPACKET: 1n << 1n,
  /** STREAM is there only when its own bit is. */
  NO_IMPLIED_STREAM: 1n << 2n,
} as const;

/** A vsock device's virtqueues (virtio 1.2, 5.10.2). */
export const VsockQueue = {
  /** Device to driver. */
  RECEIVE: 0,
  /** Driver to device. */
  TRANSMIT: 1,
  EVENT: 2,
} as const;

/** Virtqueues that every vsock device has. */
export const VSOCK_QUEUES = 3;

/** What may flow between two sides that have negotiated these feature bits. */
export function packetTypesOf(features: bigint): {
  readonly stream: boolean;
  readonly seqpacket: boolean;
} {
  const seqpacket = (features & VsockFeature.SEQPACKET) !== 0n;
  const implied = (features & VsockFeature.NO_IMPLIED_STREAM) === 0n;
  return { stream: implied || (features & VsockFeature.STREAM) !== 0n, seqpacket };
}
