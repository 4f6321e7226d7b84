import {
  HOST_CID,
  Operation,
  PacketHeader,
  type PayloadSink,
  type VsockEndpoint,
} from '../../src/index.js';
import { GUEST_CID } from './pair.js';

/** A packet as the scripted peer saw it. */
export interface SeenPacket {
  readonly header: PacketHeader;
  readonly payload: Buffer;
}

/** The other side of an endpoint of the host's, packet by packet: says whatever a test likes. */
export class ScriptedPeer {
  constructor(
    readonly endpoint: VsockEndpoint,
    readonly port = 5000,
  ) {}

  /** Sends a packet from this peer's port to the host's port 80, unless told otherwise. */
  send(fields: Partial<PacketHeader>, payload: Uint8Array = Buffer.alloc(0)): void {
    const header = Object.assign(new PacketHeader(), {
      sourceCid: GUEST_CID,
      destinationCid: HOST_CID,
      sourcePort: this.port,
      destinationPort: 80,
      type: 1,
      length: payload.length,
      ...fields,
    });
    this.endpoint.receive(header, payload.length === 0 ? [] : [payload]);
  }

  /** Opens a connection to port 80, and takes the answer. */
  open(bufferAllocation: number, type = 1): SeenPacket | undefined {
    this.send({ operation: Operation.REQUEST, bufferAllocation, type });
    return this.next();
  }

  /** The next packet that the endpoint sends. */
  next(room = 65_536): SeenPacket | undefined {
    const header = new PacketHeader();
    const pieces: Uint8Array[] = [];
    const sink: PayloadSink = { write: (bytes) => void pieces.push(bytes) };
    if (!this.endpoint.next(header, room, sink)) return undefined;
    return { header, payload: Buffer.concat(pieces) };
  }

  /** All packets that the endpoint has to send. */
  all(room?: number): SeenPacket[] {
    const packets: SeenPacket[] = [];
    for (let packet = this.next(room); packet; packet = this.next(room)) packets.push(packet);
    return packets;
  }
}
