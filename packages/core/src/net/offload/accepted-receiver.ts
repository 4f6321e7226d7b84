import type { PacketSocket } from '../../backend/packet-socket.js';
import { copyBytes, viewOf } from '../../memory/copy-bytes.js';
import type { PacketBatch } from '../../virtqueue/packet-batch.js';
import type { ReceiveFilter } from '../control/receive-filter.js';
import type { DropCounters } from '../net-statistics.js';
import { FrameFinisher, MAX_SEGMENT_HEADERS } from './frame-finisher.js';
import { GSO, HEADER_FLAG, HEADER_OFFSET } from './header-fields.js';
import type { HeaderRules } from './header-rules.js';
import { SocketLayer } from './socket-layer.js';
import { StagingMemory } from './staging-memory.js';

/** An Ethernet header with one VLAN tag. */
const LINK_HEADER = 18;

/** What an {@link AcceptedReceiver} is made with. */
export interface ReceiveLimits {
  /** Bytes of virtio-net header before each frame that the socket gives; 0 for bare frames. */
  readonly headerLength: number;
  /** What the driver has accepted. */
  readonly rules: HeaderRules;
  /** The negotiated MTU; 0 without one. */
  readonly mtu: number;
  /** Which frames the driver lets in; changes while frames come. */
  readonly filter: ReceiveFilter;
  readonly drops: DropCounters;
  /** The socket gives unfinished frames all the time, larger than the guest's buffers. */
  readonly staged?: boolean;
}

/**
 * Sees to it that the driver gets no frame that it has not accepted (virtio 1.2, 5.1.6.4.1; T54, T60):
 * after features were given up, a tap still has large segments in its queue. Such frames are rare;
 * they, and what came after them, are taken out of the guest's buffers again, finished in private
 * memory, and delivered as what they become. Those for which the guest has no buffers left wait here.
 *
 * Where a socket gives such frames all the time, they are received into private memory to begin with.
 */
export class AcceptedReceiver extends SocketLayer {
  readonly #limits: ReceiveLimits;
  /** Frames to be delivered before the socket's next ones, with their headers. */
  readonly #waiting: Uint8Array[] = [];
  readonly #staging: StagingMemory | undefined;

  constructor(inner: PacketSocket, limits: ReceiveLimits) {
    super(inner, limits.headerLength);
    this.#limits = limits;
    if (limits.staged === true) this.#staging = new StagingMemory(inner);
  }

  override release(): void {
    this.#staging?.release();
  }

  override receive(batch: PacketBatch): number {
    if (this.#waiting.length > 0) return this.#deliver(batch);
    if (this.#staging !== undefined) return this.#receiveStaged(this.#staging, batch);
    const filled = this.inner.receive(batch);
    let chain = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      if (!this.#passes(batch, frame, chain)) {
        this.#takeOut(batch, frame, chain);
        return this.#deliver(batch);
      }
      chain += batch.frameChains[frame] as number;
    }
    return filled;
  }

  /** Frames that may pass are copied to the guest from where they are; others wait for those. */
  #receiveStaged(staging: StagingMemory, batch: PacketBatch): number {
    const staged = staging.receive(this.inner, batch.count);
    const { segments, windows } = staged;
    batch.oversized += staged.oversized;
    for (let frame = 0; frame < staged.frameCount; frame += 1) {
      const length = staged.frameLengths[frame] as number;
      if (this.#waiting.length === 0 && this.#passes(staged, frame, frame)) {
        const view = windows.view(segments.window[frame] as number);
        const from = segments.offset[frame] as number;
        if (batch.deliver(view, from, length) !== 'full') continue;
      }
      const bytes = new Uint8Array(length);
      copyOut(staged, frame, bytes);
      this.#accept(batch, bytes);
    }
    return this.#deliver(batch);
  }

  #passes(batch: PacketBatch, frame: number, chain: number): boolean {
    const { headerLength, mtu, rules, filter } = this.#limits;
    if (filter.active && !this.#letsIn(batch, frame, chain)) return false;
    const length = (batch.frameLengths[frame] as number) - headerLength;
    let type: number = GSO.NONE;
    if (headerLength > 0) {
      const { firstSegment, segments, windows } = batch;
      const at = firstSegment[chain] as number;
      if ((segments.length[at] as number) < 2) return false;
      const bytes = windows.bytes(segments.window[at] as number);
      const offset = segments.offset[at] as number;
      const flags = bytes[offset] as number;
      type = bytes[offset + 1] as number;
      if (!rules.allow(flags, type)) {
        // A checksum that somebody has verified already is just not mentioned.
        const plain = type === GSO.NONE && (flags & HEADER_FLAG.NEEDS_CSUM & ~rules.flags) === 0;
        if (!plain) return false;
        bytes[offset] = flags & rules.flags;
      }
    }
    return mtu === 0 || type !== GSO.NONE || length <= mtu + LINK_HEADER;
  }

  /** Whether the filter lets a frame in; false as well when its addresses are not in one piece. */
  #letsIn(batch: PacketBatch, frame: number, chain: number): boolean {
    const { firstSegment, segments, windows, frameLengths, skip } = batch;
    const before = skip + this.#limits.headerLength;
    const bytes = skip + (frameLengths[frame] as number);
    const at = firstSegment[chain] as number;
    const seen = Math.min(bytes, before + LINK_HEADER);
    if ((segments.length[at] as number) < seen) return false;
    const start = segments.offset[at] as number;
    const view = windows.view(segments.window[at] as number);
    return this.#limits.filter.passes(view, start + before, start + seen);
  }

  /** Takes frame `first` and all after it out of the batch. */
  #takeOut(batch: PacketBatch, first: number, firstChain: number): void {
    const end = batch.frameCount;
    let chain = firstChain;
    for (let frame = first; frame < end; frame += 1) {
      const bytes = new Uint8Array(batch.frameLengths[frame] as number);
      copyOut(batch, chain, bytes);
      this.#accept(batch, bytes);
      chain += batch.frameChains[frame] as number;
    }
    batch.frameCount = first;
  }

  #accept(batch: PacketBatch, bytes: Uint8Array): void {
    const { headerLength, mtu, rules, drops, filter } = this.#limits;
    if (filter.active && !filter.passes(viewOf(bytes), headerLength, bytes.length)) {
      drops.filtered += 1;
      return;
    }
    let type: number = GSO.NONE;
    if (headerLength > 0) {
      const flags = bytes[HEADER_OFFSET.FLAGS] as number;
      type = bytes[HEADER_OFFSET.GSO_TYPE] as number;
      if (!rules.allow(flags, type)) {
        if (!this.#finish(bytes)) drops.malformed += 1;
        return;
      }
    }
    const tooLong = mtu > 0 && bytes.length - headerLength > mtu + LINK_HEADER;
    if (tooLong && type === GSO.NONE) batch.oversized += 1;
    else this.#waiting.push(bytes);
  }

  /** Leaves what becomes of a frame among those that wait. */
  #finish(bytes: Uint8Array): boolean {
    const { headerLength } = this.#limits;
    const finisher = new FrameFinisher(viewOf(bytes));
    if (!finisher.prepare(0, headerLength, bytes.length)) return false;
    if (!finisher.segmented) {
      bytes.fill(0, 0, headerLength);
      this.#waiting.push(bytes);
      return true;
    }
    for (let segment = 0; segment < finisher.segments; segment += 1) {
      const start = finisher.payloadStart(segment);
      const payload = bytes.subarray(start, start + finisher.payloadLength(segment));
      const frame = new Uint8Array(headerLength + MAX_SEGMENT_HEADERS + payload.length);
      const headers = finisher.writeHeaders(segment, viewOf(frame), headerLength);
      frame.set(payload, headerLength + headers);
      this.#waiting.push(frame.subarray(0, headerLength + headers + payload.length));
    }
    return true;
  }

  #deliver(batch: PacketBatch): number {
    let delivered = 0;
    for (const frame of this.#waiting) {
      if (batch.deliver(frame) === 'full') break;
      delivered += 1;
    }
    if (delivered > 0) this.#waiting.splice(0, delivered);
    return batch.filledChains();
  }
}

/** Copies a received frame, which begins in `chain`, out of guest memory. */
function copyOut(batch: PacketBatch, chain: number, target: Uint8Array): void {
  const { firstSegment, segments, windows } = batch;
  const view = viewOf(target);
  let skip = batch.skip;
  let to = 0;
  for (let s = firstSegment[chain] as number; to < target.length; s += 1) {
    const all = segments.length[s] as number;
    const from = Math.min(skip, all);
    skip -= from;
    const bytes = Math.min(all - from, target.length - to);
    const source = windows.view(segments.window[s] as number);
    copyBytes(source, (segments.offset[s] as number) + from, view, to, bytes);
    to += bytes;
  }
}
