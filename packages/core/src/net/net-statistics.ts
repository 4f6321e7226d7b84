/** Why a frame was dropped. Every drop has one of these. */
export interface DropCounters {
  /** Transmit: the backend refused the frame for good. Control: the command was not obeyed. */
  refused: number;
  /**
   * The frame did not fit its virtio-net header, or the header asked for what was not negotiated and
   * cannot be done without (hazard T37).
   */
  malformed: number;
  /** Transmit: the queue was disabled by the front-end, its frames are discarded. */
  disabled: number;
  /**
   * Receive: no buffer of the guest's was large enough, nor, with mergeable buffers, as many of them as
   * its ring has room for.
   */
  oversized: number;
  /** Receive: the driver's filter does not let it in. */
  filtered: number;
  /** Receive: steered to a queue that does not run, or where too much waits already (RSS). */
  overflow: number;
}

/** What a NIC's queue is for. */
export type QueueDirection = 'receive' | 'transmit' | 'control';

/** What has happened on one virtqueue since the device was made. Counts only go up. */
export interface QueueStatistics {
  /** Virtqueue index. */
  readonly queue: number;
  readonly direction: QueueDirection;
  /** Frames moved, and their bytes without virtio-net headers; on a control queue commands obeyed. */
  frames: number;
  bytes: number;
  drops: DropCounters;
  /** Transmit: frames of which the backend took only a part (C5). */
  shortWrites: number;
  /** Transmit: frames that went out by reference, and those of them that failed (C11, C12). */
  zeroCopy: number;
  zeroCopyFailures: number;
  /** Transmit: completions for frames that were not outstanding; ignored (C13). */
  strayCompletions: number;
  /** Transmit: times that the backend was full and the queue waited for it (C4). */
  backPressure: number;
  /** Receive: times that the guest had no buffer to give (C6). */
  starved: number;
  kicks: number;
  calls: number;
  callsSuppressed: number;
  errors: number;
}

/** A NIC's counters: one entry for each virtqueue, in order of their indices. */
export interface NetStatistics {
  readonly queues: readonly QueueStatistics[];
}

/** The counters that a queue's handler keeps; the rest are the vring's. */
export type HandlerCounters = Omit<
  QueueStatistics,
  'kicks' | 'calls' | 'callsSuppressed' | 'errors'
>;

/** Counters at zero. */
export function newHandlerCounters(queue: number, direction: QueueDirection): HandlerCounters {
  return {
    queue,
    direction,
    frames: 0,
    bytes: 0,
    drops: { refused: 0, malformed: 0, disabled: 0, oversized: 0, filtered: 0, overflow: 0 },
    shortWrites: 0,
    zeroCopy: 0,
    zeroCopyFailures: 0,
    strayCompletions: 0,
    backPressure: 0,
    starved: 0,
  };
}
