import { VhostError } from '../errors/vhost-error.js';
import type { EventPort } from '../events/event-port.js';
import type { DirtyLog } from '../memory/dirty-log.js';
import type { Vring } from './vring.js';

/** What the log has to have room for. */
interface GuestRange {
  readonly guestAddress: number;
  readonly size: number;
}

/**
 * A device's dirty log (seed B8): the log and its event as a front-end sets them, whether LOG_ALL is
 * negotiated, and the vrings that note their writes there. While LOG_ALL is, the log has room for
 * all of guest memory.
 */
export class DeviceLog {
  #log: DirtyLog | undefined;
  #event: EventPort | undefined;
  #logsAll = false;

  constructor(private readonly vrings: readonly Vring[]) {}

  /**
   * Takes over a log, or the lack of one, and gives the old one back. `EFAULT`, and the new one
   * given back, when it has too little room for what must be logged.
   */
  set(log: DirtyLog | undefined, memory: readonly GuestRange[]): void {
    if (log !== undefined && log === this.#log) return;
    try {
      if (this.#logsAll) checkRoom(log, memory);
      for (const vring of this.vrings) vring.checkLog(log);
    } catch (error) {
      log?.release();
      throw error;
    }
    this.#replace(log);
  }

  /** Takes over the event port to raise whenever something was logged. */
  setEvent(port: EventPort | undefined): void {
    if (port !== this.#event) this.#event?.close();
    this.#event = port;
    if (this.#log !== undefined) this.#log.event = port;
  }

  /** Switches LOG_ALL. A4: `EFAULT`, nothing changed, without a log for all of `memory`. */
  setLogsAll(logsAll: boolean, memory: readonly GuestRange[]): void {
    if (logsAll) checkRoom(this.#log, memory);
    this.#logsAll = logsAll;
    this.#apply();
  }

  /** `EFAULT` when LOG_ALL is set and the log has no room for this memory too. */
  checkMemory(added: readonly GuestRange[]): void {
    if (this.#logsAll) checkRoom(this.#log, added);
  }

  /** No log, no event, LOG_ALL off. */
  clear(): void {
    this.#logsAll = false;
    this.#replace(undefined);
    this.setEvent(undefined);
  }

  #replace(log: DirtyLog | undefined): void {
    const old = this.#log;
    this.#log = log;
    if (log !== undefined) log.event = this.#event;
    this.#apply();
    old?.release();
  }

  #apply(): void {
    for (const vring of this.vrings) vring.setLog(this.#log, this.#logsAll);
  }
}

function checkRoom(log: DirtyLog | undefined, memory: readonly GuestRange[]): void {
  if (log === undefined) throw new VhostError('EFAULT', 'LOG_ALL: there is no log');
  for (const { guestAddress, size } of memory) {
    if (log.covers(guestAddress, size)) continue;
    const address = `0x${guestAddress.toString(16)}`;
    throw new VhostError(
      'EFAULT',
      `LOG_ALL: a log of ${log.size} bytes has no room for ${size} bytes of memory at ${address}`,
    );
  }
}
