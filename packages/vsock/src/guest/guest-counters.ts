/** What a guest's transport has counted; counts only go up. */
export interface GuestVsockCounters {
  packetsReceived: number;
  packetsSent: number;
  /** Buffers whose length was less than a header's or more than the buffer's (seed D5). */
  badLength: number;
  /** Packets whose header names another length than came (seed D5). */
  wrongLength: number;
  /** Times that receiving waited for replies to be sent (seed D4). */
  replyPauses: number;
  /** Times that sending waited for the device to return buffers (seed D3). */
  transmitFull: number;
  transportResets: number;
  /** Events of a wrong length or an unknown kind, ignored. */
  unknownEvents: number;
  kicks: number;
}

/** Counters at zero. */
export function newGuestVsockCounters(): GuestVsockCounters {
  return {
    packetsReceived: 0,
    packetsSent: 0,
    badLength: 0,
    wrongLength: 0,
    replyPauses: 0,
    transmitFull: 0,
    transportResets: 0,
    unknownEvents: 0,
    kicks: 0,
  };
}
