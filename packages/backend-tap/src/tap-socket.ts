/**
 * A primer on taps. A tun/tap device is one character device, `/dev/net/tun`, that an ioctl attaches
 * to a network interface. What the host sends through the interface is read from the device, one
 * frame a `read`; what is written to it, the host receives. With `IFF_TAP` it carries Ethernet
 * frames. Without `IFF_NO_PI` each one has four bytes of "packet information" in front, with
 * `IFF_VNET_HDR` a virtio-net header whose size is set apart (10, 12 or 20 bytes here). *Offloads* say
 * which frames may be unfinished (checksum to fill in, large segment to cut up), as the virtio-net
 * header in front of them tells.
 */
import {
  EventLoopTurns,
  LocalReadiness,
  type MemoryMapping,
  type NetHeaderLength,
  type PacketBatch,
  type PacketSocket,
  type SocketOffloads,
  VhostError,
} from '@rxvhost/core';
import {
  attachQueue,
  closeFd,
  detachQueue,
  FdPoll,
  FrameKeep,
  privateMemory,
  readFrames,
  setVnetHeaderSize,
  vnetHeaderSize,
  writeFrames,
} from '@rxvhost/sys';
import {
  AsyncSubject,
  EMPTY,
  ignoreElements,
  interval,
  merge,
  type Observable,
  Subject,
  takeUntil,
  tap,
} from 'rxjs';
import { TapOffloads } from './tap-offloads.js';

/** What is known of a tap when a {@link TapSocket} takes it over. */
export interface TapDescription {
  /** An open, non-blocking tap. */
  readonly fd: number;
  readonly ifname: string;
  /** Whether frames carry a virtio-net header (`IFF_VNET_HDR`). */
  readonly vnetHeader: boolean;
  /** Whether the interface goes when the fd is closed. */
  readonly temporary: boolean;
  /** Whether it is one queue of several (`IFF_MULTI_QUEUE`). */
  readonly multiQueue: boolean;
  /** What the queues of one interface share; made when left out. */
  readonly offloads?: TapOffloads;
  /**
   * Whether the interface is gone, for a driver whose fd does not say so by itself (macvtap). Asked
   * once a second while somebody waits for frames.
   */
  readonly isGone?: () => boolean;
}

/** Milliseconds between looks whether the interface is gone. */
const LOOK_AGAIN = 1000;
/** The header of a modern guest; `setHeaderLength` changes it for a legacy one. */
const INITIAL_HEADER = 12;

/**
 * A tap as a backend: a batch of frames is one native call, straight from and to guest memory.
 *
 * A tap that is taken away (`ip link delete`) fails both observables with `EBADFD`; frames sent
 * after that are dropped, with that errno in `results`.
 */
export class TapSocket implements PacketSocket {
  readonly ifname: string;
  /** Whether the interface goes with this socket: it was made for it. */
  readonly temporary: boolean;
  readonly readable$: Observable<void>;
  readonly writable$: Observable<void>;
  /** Absent on a tap without a header. Throws what the tap says. */
  readonly setHeaderLength?: (bytes: NetHeaderLength) => void;
  /** A tap skips what it does not know of its header. */
  readonly takesHash = true;
  /** Absent on a tap without a header. Until a driver accepts some, none is on. */
  readonly offloads?: SocketOffloads;
  /** Present on one queue of several: takes it off the interface's list of queues, and back. */
  readonly setSteering?: (on: boolean) => void;

  readonly #fd: number;
  readonly #poll: FdPoll;
  readonly #keep = new FrameKeep();
  /** Tells of a frame that was read and waits for more buffers: the poll cannot. */
  readonly #kept = new LocalReadiness(new EventLoopTurns(), () => this.#keep.waits);
  readonly #failure = new Subject<never>();
  readonly #closing = new AsyncSubject<void>();
  readonly #interfaceOffloads: TapOffloads | undefined;
  #headerLength: 0 | NetHeaderLength = 0;
  #steered = true;
  #failed = false;
  #closed = false;

  /**
   * Takes over a tap that has been checked; from here on `close` closes its fd. If the tap refuses
   * a setting this throws, and the fd is still the caller's.
   */
  constructor(description: TapDescription) {
    const { fd, ifname, vnetHeader, temporary, multiQueue } = description;
    this.#fd = fd;
    this.ifname = ifname;
    this.temporary = temporary;
    if (vnetHeader) {
      this.setHeaderLength = (bytes) => this.#setHeaderLength(bytes);
      this.#setHeaderLength(INITIAL_HEADER);
      this.#interfaceOffloads = description.offloads ?? new TapOffloads(fd);
      this.offloads = this.#interfaceOffloads.forQueue(fd);
    }
    if (multiQueue) this.setSteering = (on) => this.#setSteering(on);
    this.#poll = new FdPoll(fd);
    const { isGone } = description;
    const gone$ = isGone === undefined ? EMPTY : this.#watch(isGone);
    this.readable$ = merge(this.#poll.readable$, this.#kept.ready$, this.#failure, gone$);
    this.writable$ = merge(this.#poll.writable$, this.#failure);
  }

  get headerLength(): 0 | NetHeaderLength {
    return this.#headerLength;
  }

  /** Which unfinished frames the interface may give now: bits of `TUN_OFFLOADS`. */
  get tunOffloads(): number {
    return this.#interfaceOffloads?.current ?? 0;
  }

  allocate(bytes: number): MemoryMapping {
    return privateMemory(bytes);
  }

  send(batch: PacketBatch, first: number): number {
    return writeFrames(this.#fd, batch, first);
  }

  receive(batch: PacketBatch): number {
    try {
      return readFrames(this.#fd, batch, this.#keep);
    } catch (error) {
      // The guest's memory is gone (hazard T20): that is the device's matter, the tap is well.
      if (error instanceof VhostError && error.code === 'EFAULT') throw error;
      this.#fail(error);
      return 0;
    } finally {
      this.#kept.check();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closing.next();
    this.#closing.complete();
    this.#poll.close();
    this.#kept.end();
    this.#failure.complete();
    closeFd(this.#fd);
  }

  #setHeaderLength(bytes: NetHeaderLength): void {
    setVnetHeaderSize(this.#fd, bytes);
    // An old driver that takes the request and ignores it would shift every frame (T53).
    const actual = vnetHeaderSize(this.#fd);
    if (actual !== bytes) {
      throw new VhostError(
        'EINVAL',
        `tap ${this.ifname} has a header of ${actual} bytes and does not take one of ${bytes}`,
      );
    }
    // A frame that was read before begins with a header of the old length.
    if (bytes !== this.#headerLength) this.#keep.clear();
    this.#headerLength = bytes;
  }

  /** Emits nothing; subscribed, it looks whether the interface is gone. */
  #watch(isGone: () => boolean): Observable<never> {
    return interval(LOOK_AGAIN).pipe(
      takeUntil(this.#closing),
      tap(() => {
        if (isGone()) this.#fail(new VhostError('EBADFD', `${this.ifname} was deleted`));
      }),
      ignoreElements(),
    );
  }

  /** Frames that wait in a queue when it is taken off the list are dropped by the kernel. */
  #setSteering(on: boolean): void {
    if (on === this.#steered || this.#closed) return;
    try {
      if (on) attachQueue(this.#fd);
      else detachQueue(this.#fd);
      this.#steered = on;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Reading will never work again. Says so in a later turn: the device is in the middle of one. */
  #fail(cause: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    const gone = cause instanceof VhostError && cause.code === 'EBADFD';
    const message = gone ? `tap ${this.ifname} is gone` : `tap ${this.ifname} cannot be read`;
    const code = cause instanceof VhostError ? cause.code : 'EIO';
    setImmediate(() => {
      this.#failure.error(new VhostError(code, message, { cause }));
      this.#poll.close();
    });
  }
}
