import type { PacketSocket } from '../../backend/packet-socket.js';
import { ArrayBufferMapping, type MemoryMapping, WINDOW_STRIDE } from '../../memory/mapping.js';
import { WindowTable, windowsOf } from '../../memory/window-table.js';
import { PacketBatch } from '../../virtqueue/packet-batch.js';

/** Frames that are received together, each into one chain. */
const CHAINS = 32;
/** A 64 KiB packet, Ethernet header, two tags, a virtio-net header; rounded up. */
const CHAIN_BYTES = 65536 + 64;

/** Private memory that frames of any size are received into. */
export class StagingMemory {
  readonly #memory: MemoryMapping;
  readonly #windows: WindowTable;
  readonly #batch = new PacketBatch(CHAINS, CHAINS);

  /**
   * @param socket - whose frames; it may know memory that its native code reaches
   * @param headroom - bytes to leave free before each frame
   */
  constructor(
    socket: PacketSocket,
    private readonly headroom = 0,
  ) {
    const bytes = CHAINS * CHAIN_BYTES;
    this.#memory = socket.allocate?.(bytes) ?? new ArrayBufferMapping(new ArrayBuffer(bytes));
    this.#windows = new WindowTable(windowsOf(this.#memory, WINDOW_STRIDE));
  }

  /**
   * Receives what there is, at most `limit` frames, into one chain each: frame, chain and segment
   * have the same number. The batch is good until the next call.
   */
  receive(socket: PacketSocket, limit = CHAINS): PacketBatch {
    const batch = this.#batch;
    const count = Math.min(limit, CHAINS);
    batch.reset(this.#windows, 0);
    batch.largest = true;
    const room = CHAIN_BYTES - this.headroom;
    for (let chain = 0; chain < count; chain += 1) {
      batch.lengths[chain] = room;
      batch.firstSegment[chain] = chain;
      batch.segments.push(0, chain * CHAIN_BYTES + this.headroom, room);
    }
    batch.firstSegment[count] = count;
    batch.count = count;
    socket.receive(batch);
    return batch;
  }

  release(): void {
    this.#windows.invalidate();
    this.#memory.release();
  }
}
