import type { TurnScheduler, VhostError } from '@rxvhost/core';
import type { GuestMemoryArena, QueueLink } from '@rxvhost/guest';
import type { Subscription } from 'rxjs';
import type { GuestVsockCounters } from './guest-counters.js';

/** What the handlers of a guest's three queues share. */
export interface SideContext {
  readonly arena: GuestMemoryArena;
  readonly turns: TurnScheduler;
  readonly counters: GuestVsockCounters;
  /** The device has broken a ring: everything stops. */
  fail(fault: VhostError): void;
}

/** One queue's handler: listens to calls between `start` and `stop`, works in turns of its own. */
export abstract class GuestSide {
  #calls: Subscription | undefined;
  #scheduled = false;

  constructor(
    protected readonly context: SideContext,
    protected readonly link: QueueLink,
  ) {}

  get running(): boolean {
    return this.#calls !== undefined;
  }

  start(): void {
    this.#calls = this.link.call.events$.subscribe(() => this.work());
    this.work();
  }

  /** Nothing of this side runs afterwards. */
  stop(): void {
    this.#calls?.unsubscribe();
    this.#calls = undefined;
  }

  /** After the device was reset: the ring is empty, the buffers go back to the arena. */
  abstract release(): void;

  /** Looks after the ring; called only between `start` and `stop`. */
  protected abstract work(): void;

  /** Works in a later turn. */
  protected schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.context.turns.schedule(() => {
      this.#scheduled = false;
      if (this.running) this.work();
    });
  }

  /** Shows the device what was added, with one kick if it wants one. */
  protected publish(): void {
    if (!this.link.queue.publish()) return;
    this.context.counters.kicks += 1;
    this.link.kick.signal();
  }

  /** True when the device has broken the ring; everything has stopped then. */
  protected checkFault(): boolean {
    const { fault } = this.link.queue;
    if (fault !== undefined) this.context.fail(fault);
    return fault !== undefined;
  }
}
