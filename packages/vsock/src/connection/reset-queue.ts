import { Operation } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { VsockAddress } from './roles.js';

/** Both ends of a connection and its type: all that an RST says. */
export interface ResetPacket {
  readonly type: number;
  readonly local: VsockAddress;
  readonly remote: VsockAddress;
  /** There was no connection. */
  readonly isAnswer: boolean;
}

/**
 * RSTs for connections that are not, or no longer, there. They go out before anything else. Those of
 * connections that there were are bounded by the number of connections, for each keeps its place until
 * its RST has gone; answers to strangers are bounded by the carrier, which counts them.
 */
export class ResetQueue {
  readonly #packets: ResetPacket[] = [];
  #first = 0;
  #answers = 0;

  /** RSTs that wait. */
  get length(): number {
    return this.#packets.length - this.#first;
  }

  /** RSTs among them that answer packets of no connection. */
  get answers(): number {
    return this.#answers;
  }

  push(packet: ResetPacket): void {
    this.#packets.push(packet);
    if (packet.isAnswer) this.#answers += 1;
  }

  /** Writes the next RST into `header`; false when there is none. */
  next(header: PacketHeader): boolean {
    const packet = this.#packets[this.#first];
    if (packet === undefined) return false;
    this.#first += 1;
    if (packet.isAnswer) this.#answers -= 1;
    if (2 * this.#first > this.#packets.length) {
      this.#packets.splice(0, this.#first);
      this.#first = 0;
    }
    header.sourceCid = packet.local.cid;
    header.destinationCid = packet.remote.cid;
    header.sourcePort = packet.local.port;
    header.destinationPort = packet.remote.port;
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
    this.#answers = 0;
  }
}
