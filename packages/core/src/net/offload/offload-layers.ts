import { NullSocket } from '../../backend/null-socket.js';
import type { PacketSocket } from '../../backend/packet-socket.js';
import type { ReceiveFilter } from '../control/receive-filter.js';
import { NET_FEATURE } from '../net-features.js';
import type { QueueAttachment } from '../net-queue.js';
import type { HandlerCounters } from '../net-statistics.js';
import { AcceptedReceiver } from './accepted-receiver.js';
import { FinishingSender } from './finishing-sender.js';
import { HeaderRules } from './header-rules.js';
import { effectiveOffloads, GUEST_OFFLOADS, HOST_OFFLOADS } from './offload-features.js';
import type { SocketLayer } from './socket-layer.js';

/** A socket from which nothing ever comes. */
const UNUSED = new NullSocket();
/** Offloads whose frames have up to 64 KiB. */
const LARGE = GUEST_OFFLOADS & ~(NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_ECN);

/** What is known when a queue is attached to a backend. */
export interface AttachFacts extends Omit<QueueAttachment, 'socket' | 'layer'> {
  /** The negotiated features, without what the driver has switched off since. */
  readonly features: bigint;
  /** Which frames the driver lets in. */
  readonly filter: ReceiveFilter;
  /** Of the configuration space; counts where MTU was negotiated. */
  readonly mtu: number;
  readonly counters: HandlerCounters;
  /**
   * The layer that steers received frames between the pairs, over a socket whose frames have
   * `innerHeader` bytes of header; undefined where nothing does.
   */
  steer(inner: PacketSocket, innerHeader: number): SocketLayer | undefined;
}

/**
 * The attachment for a queue: to the backend itself where that can be, so that a queue without
 * offloads, or with a backend that has them all, pays nothing; otherwise to a layer over it.
 */
export function withLayer(facts: AttachFacts): QueueAttachment {
  const { backend, headerLength, ownHeader, discarding, mergeable, unused } = facts;
  const common = { backend, headerLength, discarding, mergeable, unused };
  const { direction } = facts.counters;
  if (unused || direction === 'control')
    return { ...common, socket: UNUSED, layer: undefined, ownHeader: true };
  const layer = direction === 'transmit' ? transmitLayer(facts) : receiveLayers(facts);
  if (discarding || layer === undefined) {
    return { ...common, socket: backend, layer: undefined, ownHeader };
  }
  // What sees or makes the header itself leaves none to the queue.
  const complete = layer.headerLength === headerLength;
  return { ...common, socket: layer, layer, ownHeader: ownHeader && !complete };
}

/** Lets in what may come in, and then steers it. */
function receiveLayers(facts: AttachFacts): SocketLayer | undefined {
  if (facts.discarding) return undefined;
  const layer = receiveLayer(facts);
  const innerHeader = facts.ownHeader ? 0 : facts.headerLength;
  return facts.steer(layer ?? facts.backend, innerHeader) ?? layer;
}

/** None where the driver may ask for nothing that the backend does not do itself. */
function transmitLayer(facts: AttachFacts): SocketLayer | undefined {
  const { backend, headerLength, ownHeader, discarding } = facts;
  const accepted = effectiveOffloads(facts.features) & HOST_OFFLOADS;
  const honoured = ownHeader ? 0n : accepted & (backend.offloads?.supported ?? 0n);
  if (accepted === honoured || discarding) return undefined;
  const below = ownHeader ? 0 : headerLength;
  return new FinishingSender(backend, headerLength, below, accepted, honoured);
}

/** None where all that the backend ever gives is let in and accepted, and no MTU was agreed on. */
function receiveLayer(facts: AttachFacts): SocketLayer | undefined {
  const { backend, ownHeader, features, headerLength, counters, mergeable, filter } = facts;
  const accepted = effectiveOffloads(features) & GUEST_OFFLOADS;
  const given = ownHeader ? 0n : (backend.offloads?.supported ?? 0n) & GUEST_OFFLOADS;
  const unaccepted = given & ~accepted;
  const mtu = (features & NET_FEATURE.MTU) === 0n ? 0 : facts.mtu;
  if (unaccepted === 0n && mtu === 0 && !filter.active) return undefined;
  return new AcceptedReceiver(backend, {
    headerLength: ownHeader ? 0 : headerLength,
    rules: HeaderRules.forReceive(accepted),
    mtu,
    filter,
    drops: counters.drops,
    staged:
      backend.offloads?.fixed === true &&
      (unaccepted & LARGE) !== 0n &&
      !hasRoomForLarge(accepted, mergeable),
  });
}

/**
 * Whether a large segment finds room in the guest's buffers, be it one that the driver has not
 * accepted: either any frame may fill several, or they are made for those that it has (5.1.6.3.1).
 */
function hasRoomForLarge(accepted: bigint, mergeable: boolean): boolean {
  return mergeable || (accepted & LARGE) !== 0n;
}
