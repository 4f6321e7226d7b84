import type { TurnScheduler, VhostError } from '@rxvhost/core';
import { merge, type Observable } from 'rxjs';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { type ChainShape, ONE_DESCRIPTOR } from './chain-shape.js';
import type { FrameBatch } from './frame-batch.js';
import { NetFeature, netHeaderLength, receiveFrameLength } from './net-features.js';
import type { NetHeader } from './net-header.js';
import type { QueueLink } from './queue-link.js';
import { ReceiveSide } from './receive-side.js';
import { TransmitSide } from './transmit-side.js';

/** The largest frame of an Ethernet with a 1500-byte MTU, without its checksum. */
export const ETHERNET_FRAME_LENGTH = 1514;

/** How a {@link VirtioNetDriver} is made. */
export interface VirtioNetDriverOptions {
  /** Negotiated feature bits; the header's length and the receive mode follow from them. */
  readonly features: bigint;
  /** Bytes of the largest frame to send; 1514 by default. */
  readonly maxFrameLength?: number;
  /** Bytes of each receive buffer, header included; room for the largest frame that the features allow by default. */
  readonly receiveBufferLength?: number;
  /** How frames are spread over descriptors; one descriptor a frame by default. */
  readonly transmitShape?: ChainShape;
  readonly receiveShape?: ChainShape;
  /** Use indirect descriptors where they were negotiated and the queue has tables; off by default. */
  readonly indirect?: boolean;
  readonly turns?: TurnScheduler;
}

/** What the driver has counted since it was made. */
export interface NetDriverStatistics {
  readonly sentFrames: number;
  readonly sentBytes: number;
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  /** Frames thrown away on receive, by reason. */
  readonly drops: { readonly badLength: number; readonly badBufferCount: number };
  readonly kicks: number;
  readonly calls: number;
}

/**
 * A virtio-net driver over one receive and one transmit queue (virtio 1.2, 5.1.6). It reaches the
 * device through guest memory and {@link EventPort}s only, so the device may be an object in this
 * process or a vhost-user back-end in another.
 */
export class VirtioNetDriver {
  /** Bytes of the header before each frame. */
  readonly headerLength: 10 | 12 | 20;
  readonly receive: ReceiveSide;
  readonly transmit: TransmitSide;

  /** Received frames, batch by batch; see {@link FrameBatch} for how long the bytes are valid. */
  readonly frames$: Observable<FrameBatch>;
  /** Emits how many frames fit, when there is room again after {@link send} said no. */
  readonly writable$: Observable<number>;
  /** Emits what the device did wrong; that queue then stands still. */
  readonly errors$: Observable<VhostError>;

  /** Throws `EINVAL` when a chain cannot fit the ring, `ENOMEM` when the buffers do not fit the arena. */
  constructor(
    arena: GuestMemoryArena,
    links: { readonly receive: QueueLink; readonly transmit: QueueLink },
    options: VirtioNetDriverOptions,
  ) {
    const { features } = options;
    const headerLength = netHeaderLength(features);
    const maxFrameLength = options.maxFrameLength ?? ETHERNET_FRAME_LENGTH;
    const indirect = (options.indirect ?? false) && (features & NetFeature.INDIRECT_DESC) !== 0n;
    const turns = options.turns === undefined ? {} : { turns: options.turns };
    this.headerLength = headerLength;
    this.transmit = new TransmitSide(arena, links.transmit, {
      headerLength,
      maxFrameLength,
      shape: options.transmitShape ?? ONE_DESCRIPTOR,
      indirect,
      ...turns,
    });
    this.receive = new ReceiveSide(arena, links.receive, {
      headerLength,
      mergeable: (features & NetFeature.MRG_RXBUF) !== 0n,
      bufferLength: options.receiveBufferLength ?? headerLength + receiveFrameLength(features),
      shape: options.receiveShape ?? ONE_DESCRIPTOR,
      indirect,
      ...turns,
    });
    this.frames$ = this.receive.frames$;
    this.writable$ = this.transmit.writable$;
    this.errors$ = merge(this.receive.faults$, this.transmit.faults$);
  }

  /** Fills the receive ring and begins to listen for calls. */
  start(): void {
    this.transmit.start();
    this.receive.start();
  }

  /** Stops listening; frames stay where they are. */
  stop(): void {
    this.receive.stop();
    this.transmit.stop();
  }

  /**
   * Sends one frame: copies it, shows it to the device and kicks if the device wants that.
   * @returns false when the ring is full; wait for {@link writable$}. Throws `EMSGSIZE` for a frame
   * that is empty or longer than `maxFrameLength`
   */
  send(frame: Uint8Array, header?: NetHeader): boolean {
    const taken = this.enqueue(frame, header);
    this.flush();
    return taken;
  }

  /** As {@link send}, but the device does not see the frame before {@link flush}: for batches. */
  enqueue(frame: Uint8Array, header?: NetHeader): boolean {
    return this.transmit.enqueue(frame, header);
  }

  /** Shows the device everything enqueued, and kicks if it wants that. */
  flush(): void {
    this.transmit.flush();
  }

  /** Frames sent that the device has not yet given back; looks at the used ring. */
  pendingFrames(): number {
    this.transmit.reclaim();
    return this.transmit.pending;
  }

  /** Empty rings and free buffers, as after a device reset. Call while stopped. */
  reset(): void {
    this.receive.reset();
    this.transmit.reset();
  }

  statistics(): NetDriverStatistics {
    const { receive, transmit } = this;
    return {
      sentFrames: transmit.frames,
      sentBytes: transmit.bytes,
      receivedFrames: receive.frames,
      receivedBytes: receive.bytes,
      drops: { badLength: receive.badLength, badBufferCount: receive.badBufferCount },
      kicks: receive.kicks + transmit.kicks,
      calls: receive.calls + transmit.calls,
    };
  }

  /** Stops, ends the observables and gives the buffers back to the arena. */
  close(): void {
    this.receive.close();
    this.transmit.close();
  }
}
