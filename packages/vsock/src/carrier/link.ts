import { EventLoopTurns, type TurnScheduler } from '@rxvhost/core';
import type { Subscription } from 'rxjs';
import { MAX_PAYLOAD } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import type { PacketEndpoint, PayloadSink } from './packet-endpoint.js';

/** How {@link linkEndpoints} links. */
export interface LinkOptions {
  /** The most payload in one packet; 64 KiB by default. */
  readonly room?: number;
  /** Replies that an endpoint may hold before it is brought no more packets; 256 by default. */
  readonly replyLimit?: number;
  /** Packets carried one way in a turn; 256 by default. */
  readonly packetsPerTurn?: number;
  readonly turns?: TurnScheduler;
  /** Sees every packet on its way; false loses it. For tests. */
  readonly watch?: (header: PacketHeader, payload: readonly Uint8Array[]) => boolean;
}

/** Collects a packet's payload as views of what the sender wrote. */
class Pieces implements PayloadSink {
  readonly list: Uint8Array[] = [];

  write(bytes: Uint8Array): void {
    this.list.push(bytes);
  }
}

/** Packets from one endpoint to another. */
class Lane {
  readonly #header = new PacketHeader();
  readonly #pieces = new Pieces();

  constructor(
    readonly from: PacketEndpoint,
    readonly to: PacketEndpoint,
    readonly options: Required<Omit<LinkOptions, 'watch' | 'turns'>> & Pick<LinkOptions, 'watch'>,
  ) {}

  /** There is something to carry, and the other side takes it. */
  get ready(): boolean {
    return this.from.sendable && this.to.queuedReplies < this.options.replyLimit;
  }

  /** Carries some packets, and leaves the rest for the next turn. */
  carry(): void {
    const { room, replyLimit, packetsPerTurn, watch } = this.options;
    const { list } = this.#pieces;
    for (let packets = 0; packets < packetsPerTurn; packets += 1) {
      if (this.to.queuedReplies >= replyLimit) return;
      list.length = 0;
      if (!this.from.next(this.#header, room, this.#pieces)) return;
      if (watch === undefined || watch(this.#header, list)) this.to.receive(this.#header, list);
    }
  }
}

/**
 * Joins two endpoints in one process without a virtqueue: each one's packets go straight to the
 * other, some in every turn of the event loop. Unsubscribe to take the link away.
 */
export function linkEndpoints(
  a: PacketEndpoint,
  b: PacketEndpoint,
  options: LinkOptions = {},
): Subscription {
  const { turns = new EventLoopTurns(), watch } = options;
  const all = {
    room: options.room ?? MAX_PAYLOAD,
    replyLimit: options.replyLimit ?? 256,
    packetsPerTurn: options.packetsPerTurn ?? 256,
    ...(watch && { watch }),
  };
  const lanes = [new Lane(a, b, all), new Lane(b, a, all)];
  let scheduled = false;
  const schedule = () => {
    if (scheduled) return;
    scheduled = true;
    turns.schedule(run);
  };
  const run = () => {
    scheduled = false;
    if (subscription.closed) return;
    for (const lane of lanes) lane.carry();
    // Each lane may have made work for the other, or room for its replies.
    if (lanes.some((lane) => lane.ready)) schedule();
  };
  const subscription = a.sendable$.subscribe(schedule);
  subscription.add(b.sendable$.subscribe(schedule));
  schedule();
  return subscription;
}
