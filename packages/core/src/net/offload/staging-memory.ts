import type { PacketSocket } from '../../backend/packet-socket.js';
import { ArrayBufferMapping, type MemoryMapping, WINDOW_STRIDE } from '../../memory/mapping.js';
import { WindowTable, windowsOf } from '../../memory/window-table.js';
import { PacketBatch } from '../../virtqueue/packet-batch.js';

/** Frames that are received together, each into one chain. */
const CHAINS = 16;
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

  /** Receives what there is, into one chain for each frame. The batch is good until the next call. */
  receive(socket: PacketSocket): PacketBatch {
    const batch = this.#batch;
    batch.reset(this.#windows, 0);
    batch.largest = true;
    for (let chain = 0; chain < CHAINS; chain += 1) {
      const room = CHAIN_BYTES - this.headroom;
      batch.lengths[chain] = room;
      batch.firstSegment[chain] = chain;
      batch.segments.push(0, chain * CHAIN_BYTES + this.headroom, room);
    }
    batch.firstSegment[CHAINS] = CHAINS;
    batch.count = CHAINS;
    socket.receive(batch);
    return batch;
  }

  release(): void {
    this.#windows.invalidate();
    this.#memory.release();
  }
}
