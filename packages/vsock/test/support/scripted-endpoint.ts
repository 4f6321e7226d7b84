import type { VhostError } from '@rxvhost/core';
import { Subject } from 'rxjs';
import { type PacketEndpoint, PacketHeader, type PayloadSink } from '../../src/index.js';

/** A packet that the endpoint was given, or is to give. */
export interface ScriptedPacket {
  readonly header: PacketHeader;
  readonly payload: Buffer;
}

/** An endpoint that keeps what it is given and sends what it is told. */
export class ScriptedEndpoint implements PacketEndpoint {
  readonly received: ScriptedPacket[] = [];
  readonly outgoing: ScriptedPacket[] = [];
  readonly resets: VhostError[] = [];
  readonly sendable$ = new Subject<void>();
  features = 0n;
  queuedReplies = 0;
  /** Called for each packet, once it is kept. */
  onReceive: (packet: ScriptedPacket) => void = () => {};
  /** How often it was asked for a packet. */
  asked = 0;

  get sendable(): boolean {
    return this.outgoing.length > 0;
  }

  receive(header: PacketHeader, payload: readonly Uint8Array[]): void {
    const packet = {
      header: Object.assign(new PacketHeader(), header),
      payload: Buffer.concat(payload),
    };
    this.received.push(packet);
    this.onReceive(packet);
  }

  next(header: PacketHeader, room: number, sink: PayloadSink): boolean {
    this.asked += 1;
    const packet = this.outgoing[0];
    if (packet === undefined || packet.payload.length > room) return false;
    this.outgoing.shift();
    Object.assign(header, packet.header, { length: packet.payload.length });
    // In two pieces, as a queue of a user's buffers would.
    const half = packet.payload.length >> 1;
    if (half > 0) sink.write(packet.payload.subarray(0, half));
    sink.write(packet.payload.subarray(half));
    return true;
  }

  send(...packets: ScriptedPacket[]): void {
    this.outgoing.push(...packets);
    this.sendable$.next();
  }

  setFeatures(features: bigint): void {
    this.features = features;
  }

  reset(reason: VhostError): void {
    this.resets.push(reason);
  }
}
