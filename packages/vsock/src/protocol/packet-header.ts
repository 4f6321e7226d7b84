import { HEADER_BYTES } from './limits.js';

const HIGH = 2 ** 32;

/**
 * The header before every packet (virtio 1.2, 5.10.6), little-endian, 44 bytes:
 *
 * | at | bytes | field | here |
 * | --- | --- | --- | --- |
 * | 0 | 8 | src_cid | {@link sourceCid} |
 * | 8 | 8 | dst_cid | {@link destinationCid} |
 * | 16 | 4 | src_port | {@link sourcePort} |
 * | 20 | 4 | dst_port | {@link destinationPort} |
 * | 24 | 4 | len | {@link length} |
 * | 28 | 2 | type | {@link type} |
 * | 30 | 2 | op | {@link operation} |
 * | 32 | 4 | flags | {@link flags} |
 * | 36 | 4 | buf_alloc | {@link bufferAllocation} |
 * | 40 | 4 | fwd_cnt | {@link forwardedCount} |
 *
 * One object is made once and filled again for every packet.
 */
export class PacketHeader {
  /** Address of the side that sends the packet. One of 2^32 or more is nobody's, and may be rounded. */
  sourceCid = 0;
  destinationCid = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** Bytes of payload behind the header. */
  length = 0;
  /** A {@link PacketType}, or anything else where a stranger wrote it. */
  type = 0;
  /** An {@link Operation}, or anything else where a stranger wrote it. */
  operation = 0;
  flags = 0;
  /** Bytes that the sender of the packet keeps for what it receives on this connection. */
  bufferAllocation = 0;
  /** Bytes that it has taken out of there since the connection began, modulo 2^32. */
  forwardedCount = 0;

  /** Reads all 44 bytes from `at`. */
  read(view: DataView, at: number): this {
    this.sourceCid = view.getUint32(at, true) + view.getUint32(at + 4, true) * HIGH;
    this.destinationCid = view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * HIGH;
    this.sourcePort = view.getUint32(at + 16, true);
    this.destinationPort = view.getUint32(at + 20, true);
    this.length = view.getUint32(at + 24, true);
    this.type = view.getUint16(at + 28, true);
    this.operation = view.getUint16(at + 30, true);
    this.flags = view.getUint32(at + 32, true);
    this.bufferAllocation = view.getUint32(at + 36, true);
    this.forwardedCount = view.getUint32(at + 40, true);
    return this;
  }

  /** Writes all 44 bytes to `at`. The addresses must be below 2^32. */
  write(view: DataView, at: number): void {
    view.setUint32(at, this.sourceCid, true);
    view.setUint32(at + 4, 0, true);
    view.setUint32(at + 8, this.destinationCid, true);
    view.setUint32(at + 12, 0, true);
    view.setUint32(at + 16, this.sourcePort, true);
    view.setUint32(at + 20, this.destinationPort, true);
    view.setUint32(at + 24, this.length, true);
    view.setUint16(at + 28, this.type, true);
    view.setUint16(at + 30, this.operation, true);
    view.setUint32(at + 32, this.flags, true);
    view.setUint32(at + 36, this.bufferAllocation, true);
    view.setUint32(at + 40, this.forwardedCount, true);
  }

  /** The header as bytes of its own: for tests and control paths, it allocates. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(HEADER_BYTES);
    this.write(new DataView(bytes.buffer), 0);
    return bytes;
  }
}
