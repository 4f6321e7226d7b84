import type { VringCounters } from '@rxvhost/core';

/** Why packets of the guest's were dropped. Every drop has one of these. */
export interface PacketDrops {
  /** Shorter than a header, or the header's length disagrees with what came (seed D5, hazard T78). */
  malformed: number;
  /** Its source is not the guest's own address (hazard T78). */
  spoofed: number;
  /** Its destination is nobody that this guest may reach (seed D9). */
  misaddressed: number;
}

/** What has gone through one direction of a vsock device since it was made. Counts only go up. */
export interface DirectionCounters {
  /** Packets, and their bytes without headers. */
  packets: number;
  bytes: number;
}

/** Guest to host. */
export interface TransmitCounters extends DirectionCounters {
  drops: PacketDrops;
  /** Times that too many replies waited for the guest to take them (hazard T73). */
  replyPauses: number;
}

/** Host to guest. */
export interface ReceiveCounters extends DirectionCounters {
  /** Times that the guest had no buffer to give, though there was something to send. */
  starved: number;
}

/** A vsock device's counters. */
export interface VsockStatistics {
  readonly receive: Readonly<ReceiveCounters & VringCounters>;
  readonly transmit: Readonly<TransmitCounters & VringCounters>;
  readonly event: Readonly<VringCounters> & {
    /** Transport resets that the driver was told of (hazard T76). */
    readonly transportResets: number;
  };
}
