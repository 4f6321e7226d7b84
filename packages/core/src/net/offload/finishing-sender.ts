import type { PacketSocket } from '../../backend/packet-socket.js';
import { ERRNO } from '../../errors/vhost-error.js';
import { ArrayBufferMapping, type MemoryMapping, WINDOW_STRIDE } from '../../memory/mapping.js';
import { WindowTable, windowsOf } from '../../memory/window-table.js';
import { PacketBatch } from '../../virtqueue/packet-batch.js';
import type { NetHeaderLength } from '../net-header.js';
import { FrameFinisher } from './frame-finisher.js';
import { HEADER_OFFSET } from './header-fields.js';
import { HeaderRules } from './header-rules.js';
import { SocketLayer } from './socket-layer.js';

/** Frames that are sent together. */
const CAPACITY = 256;
/** Room for each one's headers: `MAX_SEGMENT_HEADERS` and a virtio-net header. */
const SLOT_BYTES = 256;
/** Room for the frames as the guest gave them. */
const FRAME_BYTES = 256 * 1024;
const FRAMES_AT = CAPACITY * SLOT_BYTES;
const MEMORY_BYTES = FRAMES_AT + FRAME_BYTES;
/** The longest frame: a 64 KiB packet, Ethernet header, two tags. */
const MAX_FRAME = 65535 + 14 + 8;

/**
 * Finishes frames for a socket that cannot (hazard T55). Frames that are whole go on as they are,
 * straight from guest memory. Each other one is copied into private memory, read there once more and
 * for good (T38), and finished there; guest memory is never written.
 *
 * A frame of which the socket took only some segments counts as not sent: the device puts it back and
 * it comes again as the first one, to be gone on with where the socket stopped.
 */
export class FinishingSender extends SocketLayer {
  readonly #memory: MemoryMapping;
  readonly #windows: WindowTable;
  readonly #view: DataView;
  readonly #finisher: FrameFinisher;
  /** What the driver may ask for, and what the socket does by itself. */
  readonly #accepted: HeaderRules;
  readonly #honoured: HeaderRules;
  readonly #header: NetHeaderLength;
  /** Bytes of header that the socket takes. */
  readonly #below: number;

  /** Finished frames, and for each one whose it is and which segment. */
  readonly #out = new PacketBatch(CAPACITY);
  readonly #owner = new Uint32Array(CAPACITY);
  readonly #segment = new Uint32Array(CAPACITY);
  /** Where the next frame is copied to. */
  #free = FRAMES_AT;
  /** The frame that was begun, by its head, and the segment to go on with. */
  #begunHead = -1;
  #begunSegment = 0;

  /**
   * @param header - bytes of header before each frame in guest memory
   * @param below - bytes of it that `inner` takes, 0 or all
   * @param accepted - offloads that the driver has accepted
   * @param honoured - those of them that `inner` takes unfinished
   */
  constructor(
    inner: PacketSocket,
    header: NetHeaderLength,
    below: NetHeaderLength | 0,
    accepted: bigint,
    honoured: bigint,
  ) {
    super(inner, header);
    this.#header = header;
    this.#below = below;
    this.#accepted = HeaderRules.forTransmit(accepted);
    this.#honoured = HeaderRules.forTransmit(honoured);
    this.#memory =
      inner.allocate?.(MEMORY_BYTES) ?? new ArrayBufferMapping(new ArrayBuffer(MEMORY_BYTES));
    this.#windows = new WindowTable(windowsOf(this.#memory, WINDOW_STRIDE));
    this.#view = this.#windows.view(0);
    this.#finisher = new FrameFinisher(this.#view);
  }

  override send(batch: PacketBatch, first: number): number {
    let frame = first;
    let segment = batch.heads[first] === this.#begunHead ? this.#begunSegment : 0;
    this.#begunHead = -1;
    while (frame < batch.count) {
      if (segment === 0 && this.#isWhole(batch, frame)) {
        const end = this.#endOfWhole(batch, frame);
        const sent = this.#passOn(batch, frame, end);
        frame += sent;
        if (frame < end) break;
        continue;
      }
      const end = this.#stage(batch, frame, segment);
      const out = this.#out;
      const sent = out.count === 0 ? 0 : this.inner.send(out, 0);
      this.#note(batch, sent);
      if (sent < out.count) {
        frame = this.#owner[sent] as number;
        segment = this.#segment[sent] as number;
        break;
      }
      frame = end;
      segment = this.#begunSegment;
    }
    if (frame < batch.count && segment > 0) {
      this.#begunHead = batch.heads[frame] as number;
      this.#begunSegment = segment;
    }
    return frame - first;
  }

  override release(): void {
    this.#windows.invalidate();
    this.#memory.release();
  }

  /** Whether the socket can take the frame as it is. */
  #isWhole(batch: PacketBatch, frame: number): boolean {
    const { firstSegment, segments, windows } = batch;
    const at = firstSegment[frame] as number;
    if ((segments.length[at] as number) < 2) return false;
    const bytes = windows.bytes(segments.window[at] as number);
    const offset = segments.offset[at] as number;
    const flags = bytes[offset + HEADER_OFFSET.FLAGS] as number;
    return this.#honoured.allow(flags, bytes[offset + HEADER_OFFSET.GSO_TYPE] as number);
  }

  #endOfWhole(batch: PacketBatch, frame: number): number {
    let end = frame + 1;
    while (end < batch.count && this.#isWhole(batch, end)) end += 1;
    return end;
  }

  /** Sends frames `first … end - 1` from where they are. */
  #passOn(batch: PacketBatch, first: number, end: number): number {
    const { count, results } = batch;
    const removed = this.#header - this.#below;
    batch.count = end;
    batch.skip = removed;
    let sent: number;
    try {
      sent = this.inner.send(batch, first);
    } finally {
      batch.count = count;
      batch.skip = 0;
    }
    for (let frame = first; removed > 0 && frame < first + sent; frame += 1) {
      const result = results[frame] as number;
      if (result >= 0) results[frame] = result + removed;
    }
    return sent;
  }

  /**
   * Finishes frames from `first` on, the first one from `segment` on, until one is whole or there is
   * no room.
   * @returns the frame to go on with; `#begunSegment` is that frame's segment
   */
  #stage(batch: PacketBatch, first: number, segment: number): number {
    this.#out.reset(this.#windows, 0);
    this.#free = FRAMES_AT;
    this.#begunSegment = 0;
    let frame = first;
    let from = segment;
    while (frame < batch.count) {
      if (frame > first && this.#isWhole(batch, frame)) break;
      const length = batch.lengths[frame] as number;
      if (this.#out.count === CAPACITY || this.#free + length > MEMORY_BYTES) {
        if (length <= FRAME_BYTES) break;
      }
      const fault = this.#finish(batch, frame, length);
      if (fault !== 0) {
        batch.results[frame] = -fault;
      } else {
        batch.results[frame] = length;
        from = this.#push(frame, length, from);
        this.#begunSegment = from;
        if (from > 0) break;
      }
      from = 0;
      frame += 1;
    }
    return frame;
  }

  /** Copies a frame and reads it. Returns an errno for one that cannot be sent, or 0. */
  #finish(batch: PacketBatch, frame: number, length: number): number {
    if (length - this.#header > MAX_FRAME) return ERRNO.EMSGSIZE;
    const at = this.#free;
    const end = at + batch.copyFrame(frame, this.#view, at);
    const flags = this.#view.getUint8(at + HEADER_OFFSET.FLAGS);
    const type = this.#view.getUint8(at + HEADER_OFFSET.GSO_TYPE);
    const fits = this.#accepted.allow(flags, type) && this.#finisher.prepare(at, this.#header, end);
    return fits ? 0 : ERRNO.EBADMSG;
  }

  /** Lists what the finisher has made. Returns the segment that there was no room for, or 0. */
  #push(frame: number, length: number, from: number): number {
    const finisher = this.#finisher;
    const at = this.#free;
    this.#free += (length + 3) & ~3;
    if (!finisher.segmented) {
      this.#view.setUint32(at, 0);
      for (let byte = 4; byte < this.#header; byte += 2) this.#view.setUint16(at + byte, 0);
      const removed = this.#header - this.#below;
      this.#begin(frame, 0, length - removed);
      this.#piece(at + removed, length - removed);
      return 0;
    }
    for (let segment = from; segment < finisher.segments; segment += 1) {
      if (this.#out.count === CAPACITY) return segment;
      const slot = this.#out.count * SLOT_BYTES;
      for (let byte = 0; byte < this.#below; byte += 2) this.#view.setUint16(slot + byte, 0);
      const headers = this.#below + finisher.writeHeaders(segment, this.#view, slot + this.#below);
      const payload = finisher.payloadLength(segment);
      this.#begin(frame, segment, headers + payload);
      this.#piece(slot, headers);
      if (payload > 0) this.#piece(finisher.payloadStart(segment), payload);
    }
    return 0;
  }

  #begin(frame: number, segment: number, length: number): void {
    const out = this.#out;
    this.#owner[out.count] = frame;
    this.#segment[out.count] = segment;
    out.heads[out.count] = 0;
    out.lengths[out.count] = length;
    out.firstSegment[out.count] = out.segments.count;
    out.count += 1;
    out.firstSegment[out.count] = out.segments.count;
  }

  #piece(offset: number, length: number): void {
    const out = this.#out;
    out.segments.push(0, offset, length);
    out.firstSegment[out.count] = out.segments.count;
  }

  /** A frame fares as the worst of its segments. */
  #note(batch: PacketBatch, sent: number): void {
    const { results } = this.#out;
    for (let index = 0; index < sent; index += 1) {
      const result = results[index] as number;
      if (result < 0) batch.results[this.#owner[index] as number] = result;
    }
  }
}
