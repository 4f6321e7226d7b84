import { Operation } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';

/** Both ends of a connection and its type: all that an RST says. */
export interface ResetPacket {
  readonly type: number;
  readonly localCid: number;
  readonly localPort: number;
  readonly remoteCid: number;
  readonly remotePort: number;
}

/** RSTs for connections that are not, or no longer, there. They go out before anything else. */
export class ResetQueue {
  readonly #packets: ResetPacket[] = [];
  #first = 0;

  /** RSTs that wait. */
  get length(): number {
    return this.#packets.length - this.#first;
  }

  push(packet: ResetPacket): void {
    this.#packets.push(packet);
  }

  /** Writes the next RST into `header`; false when there is none. */
  next(header: PacketHeader): boolean {
    const packet = this.#packets[this.#first];
    if (packet === undefined) return false;
    this.#first += 1;
    if (2 * this.#first > this.#packets.length) {
      this.#packets.splice(0, this.#first);
      this.#first = 0;
    }
    header.sourceCid = packet.localCid;
    header.destinationCid = packet.remoteCid;
    header.sourcePort = packet.localPort;
    header.destinationPort = packet.remotePort;
    header.length = 0;
    header.type = packet.type;
    header.operation = Operation.RST;
    header.flags = 0;
    header.bufferAllocation = 0;
    header.forwardedCount = 0;
    return true;
  }

  clear(): void {
    this.#packets.length = 0;
    this.#first = 0;
  }
}
