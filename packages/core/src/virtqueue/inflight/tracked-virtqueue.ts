import type { VhostError } from '../../errors/vhost-error.js';
import type { Translator } from '../../memory/translator.js';
import type { PacketBatch } from '../packet-batch.js';
import type { SplitRing } from '../split/split-ring.js';
import type { RingAddresses, Virtqueue } from '../virtqueue.js';
import type { VirtqueueLog } from '../virtqueue-log.js';
import type { Inflight } from './inflight.js';
import type { PackedDescriptors } from './packed-inflight.js';

/** A queue that says where it is. */
export interface TrackableVirtqueue extends Virtqueue {
  /** The index or position that the next publication begins at. */
  readonly nextUsed: number;
  /** The ring as it is found in memory now. */
  readonly place: PackedDescriptors | SplitRing;
}

/** Whether a queue, made by whomever, says what its region needs to know. */
export function isTrackable(queue: Virtqueue): queue is TrackableVirtqueue {
  return 'nextUsed' in queue && 'place' in queue;
}

/** The available half of a base. */
const AVAILABLE = 0xffff;

/**
 * A virtqueue that keeps an inflight region up to date. A layer of its own, so that a queue without
 * such a region, the usual case, pays nothing.
 */
export class TrackedVirtqueue implements Virtqueue {
  constructor(
    /** The queue itself. */
    readonly queue: TrackableVirtqueue,
    private readonly inflight: Inflight,
  ) {}

  get size(): number {
    return this.queue.size;
  }

  get base(): number {
    return this.queue.base;
  }

  /** Always: what is in flight are the oldest of what is available, or the next one cannot go on. */
  get inOrder(): boolean {
    return true;
  }

  get fault(): VhostError | undefined {
    return this.queue.fault;
  }

  get truncated(): boolean {
    return this.queue.truncated;
  }

  get exhausted(): boolean {
    return this.queue.exhausted;
  }

  get walked(): number {
    return this.queue.walked;
  }

  takeReadable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number {
    const from = this.queue.base;
    return this.#note(batch, from, this.queue.takeReadable(batch, limit, headerLength, skip));
  }

  takeWritable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number {
    const from = this.queue.base;
    return this.#note(batch, from, this.queue.takeWritable(batch, limit, headerLength, skip));
  }

  takeExchange(request: PacketBatch, answer: PacketBatch): number {
    const from = this.queue.base;
    return this.#note(answer, from, this.queue.takeExchange(request, answer));
  }

  putBack(chains: number): void {
    this.inflight.putBack(chains);
    this.queue.putBack(chains);
  }

  completeReadable(heads: Uint32Array, first: number, count: number): void {
    this.inflight.completing(heads, first, count);
    this.queue.completeReadable(heads, first, count);
    this.inflight.completed(heads, first, count, this.queue.nextUsed);
  }

  completeWritable(batch: PacketBatch): void {
    let chains = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      chains += batch.frameChains[frame] as number;
    }
    this.inflight.completing(batch.heads, 0, chains);
    this.queue.completeWritable(batch);
    this.inflight.completed(batch.heads, 0, chains, this.queue.nextUsed);
  }

  takeCallWanted(): boolean {
    return this.queue.takeCallWanted();
  }

  disableNotifications(): void {
    this.queue.disableNotifications();
  }

  enableNotifications(seen?: number): boolean {
    return this.queue.enableNotifications(seen);
  }

  requestKick(): void {
    this.queue.requestKick();
  }

  isEmpty(): boolean {
    return this.queue.isEmpty();
  }

  setLog(log: VirtqueueLog): void {
    this.queue.setLog(log);
  }

  relocate(table: Translator, addresses: RingAddresses): void {
    this.queue.relocate(table, addresses);
  }

  #note(batch: PacketBatch, from: number, taken: number): number {
    const to = this.queue.base;
    if (taken > 0) this.inflight.taken(batch.heads, taken, from & AVAILABLE, to & AVAILABLE);
    return taken;
  }
}
