import type { VhostError } from '../errors/vhost-error.js';
import type { WindowStretch } from '../memory/memory-table.js';
import { SegmentList } from '../memory/segment-list.js';
import { type Translator, type Unreachable, unreachable } from '../memory/translator.js';
import type { WindowTable } from '../memory/window-table.js';
import { invalid, tooLargeTable, tooManySegments, wrongForm } from './chain-faults.js';
import {
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_NEXT,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_WRITE,
  MAX_INDIRECT_ENTRIES,
} from './descriptor.js';

/** What an indirect table may be cut into by the regions under it. */
const MAX_TABLE_PIECES = 256;
const MAX_CHAIN_BYTES = 0xffffffff;
/** Behind the last descriptor of a chain. */
const NO_MORE = -1;
const NOWHERE: WindowStretch = { start: 0, end: 0, window: 0, offset: 0 };

/** Where a ring's descriptors lie, and in which layout. */
export interface DescriptorRing {
  readonly table: Translator;
  readonly windows: WindowTable;
  /** The window of the descriptors, and the first one's first byte in it. */
  readonly descriptorWindow: number;
  readonly descriptorOffset: number;
  /** Entries. */
  readonly size: number;
  /**
   * Packed: the chain goes on with the next entry, or around the ring's end; an indirect table is used
   * entry by entry; and each descriptor has a buffer id.
   */
  readonly packed: boolean;
}

/**
 * Walks one descriptor chain, whatever the guest made of it: linked descriptors, an indirect table,
 * buffers that span regions. Every descriptor is read once into the walker's own fields and checked
 * there (T38). Rules and limits: seeds B1, B2, B3; virtio 1.2, 2.7.5 and 2.8.6.
 *
 * This is the careful walker, of both ring layouts. Each layout's `takePlain` handles the plain case, one direct descriptor
 * in the stretch of memory that was seen last; a queue comes here for everything else.
 */
export class ChainWalker {
  /** Descriptors read so far, in all chains: the measure of work against hostile rings. */
  walked = 0;
  /** What the chain walked last came to. */
  readableBytes = 0;
  writableBytes = 0;
  writableDescriptors = 0;
  /** Descriptors of the ring itself in that chain, and in a packed ring its buffer id. */
  ringDescriptors = 0;
  bufferId = 0;
  /** The stretches of guest memory that the last buffers lay in: of those to read, of those to write. */
  readStretch: WindowStretch = NOWHERE;
  writeStretch: WindowStretch = NOWHERE;
  #generation = 0;

  // The list of descriptors being walked: the ring's own table, or an indirect one.
  #view: DataView;
  #base = 0;
  #entries = 0;
  readonly #pieces = new SegmentList(MAX_TABLE_PIECES);
  readonly #straddling = new DataView(new ArrayBuffer(DESCRIPTOR_SIZE));

  // The descriptor read last.
  #address = 0;
  #length = 0;
  #flags = 0;
  /** Split: the next descriptor. Packed: the buffer id. */
  #link = 0;

  readonly #table: Translator;

  constructor(
    private readonly ring: DescriptorRing,
    private readonly indirectAllowed: boolean,
  ) {
    this.#table = ring.table;
    this.#view = ring.windows.view(ring.descriptorWindow);
  }

  /** Forgets the stretches seen, where translations have changed since (B10). */
  refresh(): void {
    const { generation } = this.#table;
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.readStretch = NOWHERE;
    this.writeStretch = NOWHERE;
  }

  /** The stretch seen last in one direction: the WRITE flag, or 0. */
  stretch(direction: number): WindowStretch {
    return direction === 0 ? this.readStretch : this.writeStretch;
  }

  /**
   * Appends the chain that begins at `head` to `segments`.
   * @param head - its first descriptor, below the queue size
   * @param limit - the most segments that this chain may have
   * @returns undefined, or why the chain cannot be used; `segments` may then hold a part of it
   */
  walk(head: number, segments: SegmentList, limit: number): VhostError | undefined {
    this.readableBytes = 0;
    this.writableBytes = 0;
    this.writableDescriptors = 0;
    this.#view = this.ring.windows.view(this.ring.descriptorWindow);
    this.#base = this.ring.descriptorOffset;
    this.#entries = this.ring.size;
    this.#pieces.count = 0;
    this.ringDescriptors = 0;
    const most = Math.min(segments.count + limit, segments.capacity);
    let indirect = false;
    let index = head;
    for (let count = 1; ; count += 1) {
      if (index >= this.#entries) {
        return invalid(`next ${index} is outside a table of ${this.#entries} descriptors`);
      }
      if (count > this.#entries) return invalid('longer than its table: a loop');
      this.walked += 1;
      this.#read(index);
      if (!indirect) {
        this.ringDescriptors = count;
        this.bufferId = this.#link;
      }
      if ((this.#flags & DESCRIPTOR_INDIRECT) !== 0) {
        if (indirect) return invalid('an indirect descriptor inside an indirect table');
        const error = this.#enterIndirect();
        if (error !== undefined) return error;
        indirect = true;
        index = 0;
        count = 0;
        continue;
      }
      const error = this.#append(segments, most);
      if (error !== undefined) return error;
      index = this.#after(index, indirect);
      if (index === NO_MORE) return undefined;
    }
  }

  /**
   * Why the chain walked last is of no use on its queue, if so (seeds B9, C3).
   * @param direction - the WRITE flag that every descriptor must have, or 0
   * @param minimum - bytes that it must have
   */
  misfit(direction: number, minimum: number, head: number): VhostError | undefined {
    const wrong = direction === 0 ? this.writableDescriptors > 0 : this.readableBytes > 0;
    const length = direction === 0 ? this.readableBytes : this.writableBytes;
    return wrong || length < minimum ? wrongForm(direction, wrong, length, head) : undefined;
  }

  /** The descriptor after the one at `index`, which was read last. */
  #after(index: number, indirect: boolean): number {
    const next = index + 1;
    if (this.ring.packed && indirect) return next < this.#entries ? next : NO_MORE;
    if ((this.#flags & DESCRIPTOR_NEXT) === 0) return NO_MORE;
    if (!this.ring.packed) return this.#link;
    return next < this.#entries ? next : 0;
  }

  /** Goes on in the indirect table that the descriptor read last refers to (B2). */
  #enterIndirect(): VhostError | undefined {
    if (!this.indirectAllowed) return invalid('an indirect descriptor that was not negotiated');
    if ((this.#flags & DESCRIPTOR_NEXT) !== 0) return invalid('both indirect and going on');
    const bytes = this.#length;
    if (bytes === 0 || bytes % DESCRIPTOR_SIZE !== 0) {
      return invalid(`an indirect table of ${bytes} bytes`);
    }
    const entries = bytes / DESCRIPTOR_SIZE;
    if (entries > MAX_INDIRECT_ENTRIES) {
      return tooLargeTable(entries);
    }
    const pieces = this.#pieces;
    const outcome = this.#table.translate(this.#address, bytes, pieces, false);
    if (outcome === 'full') return tooManySegments();
    if (outcome !== 'ok') return this.#unreachable(outcome, 'the indirect table', false);
    this.#entries = entries;
    this.#view = this.ring.windows.view(pieces.window[0] as number);
    this.#base = pieces.offset[0] as number;
    return undefined;
  }

  /** Appends the buffer of the descriptor read last. */
  #append(segments: SegmentList, most: number): VhostError | undefined {
    const length = this.#length;
    const write = (this.#flags & DESCRIPTOR_WRITE) !== 0;
    if (write) {
      this.writableBytes += length;
      this.writableDescriptors += 1;
    } else {
      if (this.writableDescriptors > 0)
        return invalid('a readable descriptor after a writable one');
      this.readableBytes += length;
    }
    if (this.readableBytes + this.writableBytes > MAX_CHAIN_BYTES) {
      return invalid('more than 2^32 - 1 bytes');
    }
    if (length === 0) return undefined;
    const address = this.#address;
    const { start, end, window, offset } = this.#stretchFor(address, length, write);
    if (address >= start && address + length <= end) {
      if (segments.count >= most) return tooManySegments();
      segments.push(window, offset + (address - start), length);
      return undefined;
    }
    const outcome = this.#table.translate(address, length, segments, write);
    if (outcome === 'full' || segments.count > most) return tooManySegments();
    return outcome === 'ok' ? undefined : this.#unreachable(outcome, 'a buffer', write);
  }

  /** The stretch seen last, or another one if the buffer is not all in it. */
  #stretchFor(address: number, length: number, write: boolean): WindowStretch {
    const seen = write ? this.writeStretch : this.readStretch;
    if (address >= seen.start && address + length <= seen.end) return seen;
    const found = this.#table.stretchAt(address, write) ?? seen;
    if (write) this.writeStretch = found;
    else this.readStretch = found;
    return found;
  }

  #unreachable(why: Unreachable, what: string, write: boolean): VhostError {
    const range = [this.#address, this.#length] as const;
    const { missed } = this.#table;
    return unreachable(why, `descriptor chain: ${what}`, range, { missed, write });
  }

  #read(index: number): void {
    const offset = index * DESCRIPTOR_SIZE;
    if (this.#pieces.count > 1) this.#readFromPieces(offset);
    else this.#readFields(this.#view, this.#base + offset);
  }

  /** An indirect table may be cut by regions anywhere, even inside a descriptor (T33). */
  #readFromPieces(offset: number): void {
    const pieces = this.#pieces;
    const target = this.#straddling;
    let piece = 0;
    let at = offset;
    for (let done = 0; done < DESCRIPTOR_SIZE; done += 1) {
      while (at >= (pieces.length[piece] as number)) {
        at -= pieces.length[piece] as number;
        piece += 1;
      }
      const bytes = this.ring.windows.bytes(pieces.window[piece] as number);
      target.setUint8(done, bytes[(pieces.offset[piece] as number) + at] as number);
      at += 1;
    }
    this.#readFields(target, 0);
  }

  #readFields(view: DataView, offset: number): void {
    const low = view.getUint32(offset, true);
    const high = view.getUint32(offset + 4, true);
    this.#address = high * 0x1_0000_0000 + low;
    this.#length = view.getUint32(offset + 8, true);
    const last = view.getUint32(offset + 12, true);
    this.#flags = this.ring.packed ? last >>> 16 : last & 0xffff;
    this.#link = this.ring.packed ? last & 0xffff : last >>> 16;
  }
}
