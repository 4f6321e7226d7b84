import { NET_FEATURE } from '../net-features.js';
import type { QueueAttachment } from '../net-queue.js';
import type { HandlerCounters } from '../net-statistics.js';
import { AcceptedReceiver } from './accepted-receiver.js';
import { FinishingSender } from './finishing-sender.js';
import { HeaderRules } from './header-rules.js';
import { effectiveOffloads, GUEST_OFFLOADS, HOST_OFFLOADS } from './offload-features.js';
import type { SocketLayer } from './socket-layer.js';

/** What is known when a queue is attached to a backend. */
export interface AttachFacts extends Omit<QueueAttachment, 'socket' | 'layer'> {
  /** All negotiated features. */
  readonly features: bigint;
  /** Of the configuration space; counts where MTU was negotiated. */
  readonly mtu: number;
  readonly counters: HandlerCounters;
}

/**
 * The attachment for a queue: to the backend itself where that can be, so that a queue without
 * offloads, or with a backend that has them all, pays nothing; otherwise to a layer over it.
 */
export function withLayer(facts: AttachFacts): QueueAttachment {
  const { backend, headerLength, ownHeader, discarding, mergeable } = facts;
  const common = { backend, headerLength, discarding, mergeable };
  const transmits = facts.counters.direction === 'transmit';
  const layer = transmits ? transmitLayer(facts) : receiveLayer(facts);
  if (discarding || layer === undefined) {
    return { ...common, socket: backend, layer: undefined, ownHeader };
  }
  // The transmit layer wants to see the header; what the receive layer gives is as the backend's.
  return { ...common, socket: layer, layer, ownHeader: ownHeader && !transmits };
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

/** None where all that the backend ever gives has been accepted, and no MTU was agreed on. */
function receiveLayer(facts: AttachFacts): SocketLayer | undefined {
  const { backend, ownHeader, features, headerLength, counters } = facts;
  const accepted = effectiveOffloads(features) & GUEST_OFFLOADS;
  const given = ownHeader ? 0n : (backend.offloads?.supported ?? 0n) & GUEST_OFFLOADS;
  const mtu = (features & NET_FEATURE.MTU) === 0n ? 0 : facts.mtu;
  if ((given & ~accepted) === 0n && mtu === 0) return undefined;
  return new AcceptedReceiver(backend, {
    headerLength: ownHeader ? 0 : headerLength,
    rules: HeaderRules.forReceive(accepted),
    mtu,
    drops: counters.drops,
    staged: (given & ~accepted) !== 0n && backend.offloads?.fixed === true,
  });
}
