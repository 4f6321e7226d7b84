/**
 * A primer on packet sockets. `AF_PACKET` with `SOCK_RAW` is the host's way of looking at an
 * interface below its own network stack: the socket gets a copy of every frame that passes the
 * interface and sends frames out through it, Ethernet header and all. It is no interface of its own:
 * others see its frames come from the wire.
 *
 * With `PACKET_VNET_HDR` each frame has the kernel's virtio-net header of 10 bytes before it. There is
 * no telling the kernel which unfinished frames to give, as there is for a tap. A VLAN tag comes
 * apart from its frame and is put back by native code (hazard T56).
 */
import {
  ERRNO,
  type MemoryMapping,
  type PacketBatch,
  type PacketSocket,
  type SocketOffloads,
  VhostError,
} from '@rxvhost/core';
import {
  closeFd,
  FdPoll,
  outgoingBytes,
  packetDrops,
  packetSocketInterface,
  privateMemory,
  receivePackets,
  sendBufferSize,
  sendFrames,
} from '@rxvhost/sys';
import { merge, type Observable, Subject } from 'rxjs';
import { RAW_OFFLOADS } from './raw-offloads.js';

/** What is known of a packet socket when a {@link RawPacketSocket} takes it over. */
export interface RawDescription {
  /** An open, non-blocking packet socket that is bound to an interface. */
  readonly fd: number;
  /**
   * Another one on that interface that only sends. Left out: `fd` sends, and each frame that leaves
   * wakes the poll for frames that come: a tenth of what sending it costs.
   */
  readonly sendFd?: number;
  readonly ifname: string;
  /** Whether frames carry the virtio-net header (`PACKET_VNET_HDR`). */
  readonly vnetHeader: boolean;
}

/** Milliseconds to the first look whether an interface that went down is still there, and to others. */
const FIRST_LOOK = 50;
const NEXT_LOOK = 1000;

/**
 * A raw packet socket as a backend: a batch of frames is a few `sendmmsg` or `recvmmsg` calls,
 * straight from and to guest memory.
 *
 * An interface that goes down is waited for: meanwhile frames are dropped with `ENETDOWN` in
 * `results`. One that is deleted fails both observables with `ENODEV`.
 */
export class RawPacketSocket implements PacketSocket {
  readonly ifname: string;
  readonly readable$: Observable<void>;
  readonly writable$: Observable<void>;
  /** Absent on a socket without the header. */
  readonly setHeaderLength?: (bytes: 10 | 12) => void;
  /** Absent on a socket without the header. */
  readonly offloads?: SocketOffloads;

  readonly #fd: number;
  readonly #sendFd: number;
  readonly #poll: FdPoll;
  readonly #sendPoll: FdPoll;
  readonly #failure = new Subject<never>();
  readonly #sendBuffer: number;
  #headerLength: 0 | 10 | 12 = 0;
  #kernelDrops = 0;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #failed = false;
  #closed = false;

  /** Takes over sockets that have been set up; from here on `close` closes them. */
  constructor({ fd, sendFd = fd, ifname, vnetHeader }: RawDescription) {
    this.#fd = fd;
    this.#sendFd = sendFd;
    this.ifname = ifname;
    this.#sendBuffer = sendBufferSize(sendFd);
    if (vnetHeader) {
      this.#headerLength = 12;
      this.offloads = RAW_OFFLOADS;
      this.setHeaderLength = (bytes) => {
        this.#headerLength = bytes;
      };
    }
    this.#poll = new FdPoll(fd);
    this.#sendPoll = sendFd === fd ? this.#poll : new FdPoll(sendFd);
    this.readable$ = merge(this.#poll.readable$, this.#failure);
    this.writable$ = merge(this.#sendPoll.writable$, this.#failure);
  }

  get headerLength(): 0 | 10 | 12 {
    return this.#headerLength;
  }

  /** Frames that the kernel dropped because they were not received in time, since it was opened. */
  get kernelDrops(): number {
    if (!this.#closed) this.#kernelDrops += packetDrops(this.#fd);
    return this.#kernelDrops;
  }

  allocate(bytes: number): MemoryMapping {
    return privateMemory(bytes);
  }

  send(batch: PacketBatch, first: number): number {
    const sent = sendFrames(this.#sendFd, batch, first, this.#headerLength);
    if (sent > 0) this.#heed(batch.results[first + sent - 1] as number);
    return sent;
  }

  receive(batch: PacketBatch): number {
    try {
      const chains = receivePackets(this.#fd, batch, this.#headerLength);
      if (chains > 0) this.#heed(chains);
      return chains;
    } catch (error) {
      // The guest's memory is gone (hazard T20): that is the device's matter, the socket is well.
      if (error instanceof VhostError && error.code === 'EFAULT') throw error;
      if (error instanceof VhostError && error.code === 'ENETDOWN') this.#heed(-ERRNO.ENETDOWN);
      else this.#fail(error);
      return 0;
    }
  }

  /** Seed C4: the bytes of sent frames that have not left yet, as a share of the send buffer. */
  sendBufferFill(): number {
    return outgoingBytes(this.#sendFd) / this.#sendBuffer;
  }

  close(): void {
    if (this.#closed) return;
    this.#kernelDrops += packetDrops(this.#fd);
    this.#closed = true;
    this.#stopWatching();
    this.#closePolls();
    this.#failure.complete();
    closeFd(this.#fd);
    if (this.#sendFd !== this.#fd) closeFd(this.#sendFd);
  }

  /**
   * Draws from what became of a frame whether the interface is down. The kernel tells that once, to
   * whoever sends or receives first, and never that an interface which is down is deleted: so look
   * for it until a frame passes again.
   */
  #heed(outcome: number): void {
    if (outcome === -ERRNO.ENETDOWN || outcome === -ERRNO.ENXIO) {
      if (this.#watch === undefined) this.#lookAfter(FIRST_LOOK);
    } else if (this.#watch !== undefined && outcome > 0) {
      this.#stopWatching();
    }
  }

  #lookAfter(milliseconds: number): void {
    this.#watch = setTimeout(() => {
      if (packetSocketInterface(this.#fd) !== 0) this.#lookAfter(NEXT_LOOK);
      else this.#fail(new VhostError('ENODEV', `interface ${this.ifname} is gone`));
    }, milliseconds);
    this.#watch.unref();
  }

  #stopWatching(): void {
    clearTimeout(this.#watch);
    this.#watch = undefined;
  }

  /** Receiving will never work again. Says so in a later turn: the device is in the middle of one. */
  #fail(cause: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    const error =
      cause instanceof VhostError && cause.code === 'ENODEV'
        ? cause
        : new VhostError(
            cause instanceof VhostError ? cause.code : 'EIO',
            `interface ${this.ifname} cannot be read`,
            { cause },
          );
    setImmediate(() => {
      this.#failure.error(error);
      this.#closePolls();
    });
  }

  #closePolls(): void {
    this.#poll.close();
    if (this.#sendPoll !== this.#poll) this.#sendPoll.close();
  }
}
