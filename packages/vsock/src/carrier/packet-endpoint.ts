import type { VhostError } from '@rxvhost/core';
import type { Observable } from 'rxjs';
import type { PacketHeader } from '../protocol/packet-header.js';

/** Where a packet's payload is written: the rest of a buffer behind its header. */
export interface PayloadSink {
  /** Appends bytes. All calls for one packet add up to at most the `room` that was offered. */
  write(bytes: Uint8Array): void;
}

/**
 * What a carrier of packets asks of the endpoint above it. A carrier is the host's device or the
 * guest's transport: it knows virtqueues and nothing of connections; an endpoint knows connections
 * and nothing of queues. Everything is synchronous, nothing throws whatever a packet holds.
 *
 * A carrier's two halves:
 *
 * ```ts
 * // in: stop while the endpoint holds too many replies (seed D4, hazard T73)
 * while (endpoint.queuedReplies < replyLimit && takePacket()) endpoint.receive(header, pieces);
 *
 * // out: after `sendable$`, and when buffers have come back
 * while (haveBuffer() && endpoint.next(header, room, sink)) header.write(buffer, 0);
 * if (endpoint.queuedReplies < replyLimit) resumeIn();
 * ```
 *
 * `sendable$` may emit inside `receive` and inside whatever a user calls, so a carrier that acts on
 * it at once must bear being called from within itself; better it notes the fact and sends in a turn
 * of its own, which also lets small writes travel together.
 */
export interface PacketEndpoint {
  /**
   * A packet came in. `payload` are views that are valid during the call only, exactly
   * `header.length` bytes together; the endpoint copies what it keeps. Packets whose length is wrong
   * do not come this far: the carrier has dropped them.
   */
  receive(header: PacketHeader, payload: readonly Uint8Array[]): void;

  /** True when {@link next} has something to say, given room enough. */
  readonly sendable: boolean;

  /** Emits when {@link sendable} turns true. */
  readonly sendable$: Observable<void>;

  /**
   * Writes the next packet: every field of `header`, and its payload into `sink`, copied from where
   * the user left it. Connections take turns. A packet without payload needs no room.
   * @param room - bytes of payload that fit; a packet carries at most that many
   * @returns false when there is nothing to send now; nothing was written then
   */
  next(header: PacketHeader, room: number, sink: PayloadSink): boolean;

  /** Answers to packets of no connection that wait to be sent: a carrier takes no more packets in while these are too many. */
  readonly queuedReplies: number;

  /** Which types of sockets may be used: the feature bits that both sides have negotiated. */
  setFeatures(features: bigint): void;

  /**
   * The transport was reset (seed D6, hazard T76) or has gone: every connection ends with `reason`,
   * nothing is sent for it, listeners stay.
   */
  reset(reason: VhostError): void;
}
