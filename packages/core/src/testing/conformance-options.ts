import type { PacketSocket } from '../backend/packet-socket.js';
import type { MemoryMapping } from '../memory/mapping.js';
import type { RingLayout } from './frame-ring.js';

/**
 * What the suite needs of a test runner: tap's `t` and `node:test`'s context both have it. A check
 * that fails rejects.
 */
export interface ConformanceTest {
  test(name: string, body: (t: ConformanceTest) => Promise<void>): unknown;
  /** Notes that a check has passed, for runners that count assertions. */
  pass?(message: string): unknown;
}

/**
 * The other end of a backend: a socket, a program, or the other half of the same object. Each
 * function may be called at any time after the backend was made, and is awaited. Frames are bare,
 * without a virtio-net header, however the backend carries them.
 */
export interface BackendPeer {
  /**
   * Takes what has come from the backend and was not taken before, in order. Asked again and again
   * until all that is expected is there: it need not wait.
   */
  received(): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** Gives the backend these frames to receive, in order; at most 64 at a time. */
  inject(frames: readonly Uint8Array[]): unknown;
  /**
   * Takes no more frames, so that the backend becomes full. Left out by peers that do nothing until
   * `received` is called, and where the backend limits itself.
   */
  pause?(): unknown;
  /** Ends the pause. */
  resume?(): unknown;
}

/** A backend with its other end, made anew for each check. */
export interface ConformanceBench {
  readonly backend: PacketSocket;
  /** Left out for a backend that is a sink. */
  readonly peer?: BackendPeer;
  /** Called after the backend was closed: releases the other end. */
  release?(): unknown;
}

/** What the author declares about a backend. */
export interface ConformanceOptions {
  /** It drops everything and gives nothing, so that there is no peer. `false` unless set. */
  readonly sink?: boolean;
  /** Bytes in the shortest frame that it carries; 14 unless set. */
  readonly smallestFrame?: number;
  /** Bytes in the longest frame that it carries, at most 65,550; 1514 unless set. */
  readonly largestFrame?: number;
  /**
   * `false` for a backend that is never full (a tap). Else the most frames of 60 bytes that it may
   * take before it is; 10,000 unless set.
   */
  readonly fullAfter?: number | false;
  /** Layout of the guest's rings: a backend must not notice. `'split'` unless set. */
  readonly rings?: RingLayout;
  /**
   * Memory for frames, as a guest's would be; needed by backends in native code that have no
   * `allocate`. JavaScript's own memory unless set.
   */
  readonly memory?: (bytes: number) => MemoryMapping;
  /** How many files the process has open; the leak check runs only where this is set. */
  readonly openFiles?: () => number;
  /** Milliseconds to wait for something that must happen; 5000 unless set. */
  readonly patience?: number;
}
