/**
 * Receive-side scaling: which of a NIC's receive queues a frame goes to, decided by the driver's
 * table rather than by the backend (virtio 1.2, 5.1.6.5.7), and the hash reported with each frame
 * (5.1.6.4.3). A frame may come out of one pair's backend and belong to another pair, whose buffers
 * may be used up just now: so frames are received into private memory, hashed there, where the guest
 * cannot change them, and wait in a bounded store for their pair.
 */
import { FrameStore } from '../../backend/frame-store.js';
import { LocalReadiness } from '../../backend/local-readiness.js';
import type { PacketSocket } from '../../backend/packet-socket.js';
import type { TurnScheduler } from '../../events/turn-scheduler.js';
import type { PacketBatch } from '../../virtqueue/packet-batch.js';
import type { HashConfig, RssConfig } from '../control/rss-commands.js';
import type { NetHeaderLength } from '../net-header.js';
import type { DropCounters } from '../net-statistics.js';
import { FlowHash } from './flow-hash.js';
import { Indirection } from './indirection.js';
import { SteeredSocket } from './steered-socket.js';
import { Toeplitz } from './toeplitz.js';

/** What may wait for one pair; frames over that are dropped, as by a network card. */
const STORE_BYTES = 1024 * 1024;
const STORE_FRAMES = 1024;

/** What waits for one pair. */
class Lane {
  readonly store = new FrameStore(undefined, STORE_BYTES, STORE_FRAMES);
  readonly readiness: LocalReadiness;
  /** Sockets that take from here: more than one only while a queue is attached anew. */
  users = 0;

  constructor(turns: TurnScheduler) {
    this.readiness = new LocalReadiness(turns, () => this.store.count > 0);
  }
}

/** Steers the received frames of one NIC. */
export class ReceiveSteering {
  readonly #lanes: readonly Lane[];
  #indirection: Indirection | undefined;
  #hash: FlowHash | undefined;

  /**
   * @param pairs - queue pairs of the NIC
   * @param header - bytes of header before each frame in guest memory
   */
  constructor(
    pairs: number,
    readonly header: NetHeaderLength,
    turns: TurnScheduler,
  ) {
    this.#lanes = Array.from({ length: pairs }, () => new Lane(turns));
  }

  /** Steers by this table from now on; without one, frames stay with the pair that they came to. */
  steer(config: RssConfig | undefined): void {
    this.#indirection = config && new Indirection(config);
  }

  /** Hashes what is not steered; nothing when left out. */
  report(config: HashConfig | undefined): void {
    this.#hash = config && new FlowHash(new Toeplitz(config.key), config.types);
  }

  /** The socket for pair `pair`'s receive queue, over its backend or a layer of that. */
  socket(
    pair: number,
    inner: PacketSocket,
    innerHeader: number,
    drops: DropCounters,
  ): SteeredSocket {
    const lane = this.#lane(pair);
    lane.users += 1;
    return new SteeredSocket(inner, innerHeader, {
      header: this.header,
      waiting: lane.store,
      waiting$: lane.readiness.ready$,
      place: (batch, frame, view, at, end) => this.#place(pair, batch, frame, view, at, end, drops),
      left: () => {
        lane.users -= 1;
        if (lane.users === 0) lane.store.clear();
      },
    });
  }

  /**
   * Puts one staged frame where it belongs. Returns the hash that was made for it, if any.
   * The frame itself, behind its header, is at `at … end - 1` of `view`.
   */
  #place(
    own: number,
    batch: PacketBatch,
    frame: number,
    view: DataView,
    at: number,
    end: number,
    drops: DropCounters,
  ): void {
    const pair = this.#indirection?.pairOf(view, at, end) ?? own;
    const flow = this.#indirection?.flow ?? this.#hash;
    if (this.#indirection === undefined) this.#hash?.hash(view, at, end);
    if (this.header === HASH_HEADER) writeHash(view, at - HASH_HEADER, flow);
    const lane = this.#lane(pair);
    batch.count = frame + 1;
    if (lane.users === 0 || lane.store.put(batch, frame) === 0) drops.overflow += 1;
    else if (pair !== own) lane.readiness.check();
  }

  #lane(pair: number): Lane {
    return this.#lanes[pair] as Lane;
  }
}

/** A header with room for the hash: at 12 the hash, at 16 what was hashed, at 18 nothing. */
const HASH_HEADER = 20;

function writeHash(view: DataView, header: number, flow: FlowHash | undefined): void {
  view.setUint32(header + 12, flow?.value ?? 0, true);
  view.setUint16(header + 16, flow?.report ?? 0, true);
  view.setUint16(header + 18, 0, true);
}
