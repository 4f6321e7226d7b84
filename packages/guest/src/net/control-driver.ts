import { VhostError } from '@rxvhost/core';
import type { Subscription } from 'rxjs';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { BufferList } from '../queue/buffer-list.js';
import { NO_CHAIN } from '../queue/driver-queue.js';
import type { QueueLink } from './queue-link.js';

/** Bytes of the longest command. */
const COMMAND_BYTES = 4096;
const HEAD = 2;
/** What stands where the answer goes until the device has written it: no answer. */
const NO_ANSWER = 0xff;
const DONE = 0;

interface Waiting {
  readonly resolve: (done: boolean) => void;
  readonly reject: (error: VhostError) => void;
}

/**
 * The driver's end of a NIC's control queue (virtio 1.2, 5.1.6.5): one command at a time, each
 * answered by the device.
 */
export class NetControlDriver {
  readonly #memory: number;
  readonly #bytes: Uint8Array;
  readonly #list = new BufferList(3);
  #subscription: Subscription | undefined;
  #waiting: Waiting | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly arena: GuestMemoryArena,
    private readonly link: QueueLink,
  ) {
    this.#memory = arena.allocate(COMMAND_BYTES + 1, 16);
    this.#bytes = arena.bytes(this.#memory, COMMAND_BYTES + 1);
  }

  start(): void {
    this.#subscription = this.link.call.events$.subscribe(() => this.#onCall());
  }

  stop(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }

  /**
   * Gives one command, after those that were given before are answered.
   * @param command - class and command, one of `ControlCommand`
   * @returns whether the device obeyed. Rejects with `EMSGSIZE` for more data than 4094 bytes, with
   * what is wrong with the queue, and with `ECANCELED` when the driver is closed meanwhile
   */
  command(
    command: readonly [number, number],
    data: Uint8Array = new Uint8Array(0),
  ): Promise<boolean> {
    const answer = this.#last.then(() => this.#give(command, data));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  close(): void {
    this.stop();
    this.#waiting?.reject(new VhostError('ECANCELED', 'the control driver is closed'));
    this.#waiting = undefined;
    this.arena.release(this.#memory);
  }

  #give(command: readonly [number, number], data: Uint8Array): Promise<boolean> {
    if (HEAD + data.length > COMMAND_BYTES) {
      throw new VhostError('EMSGSIZE', `control command: ${data.length} bytes of data`);
    }
    this.#bytes.set(command, 0);
    this.#bytes.set(data, HEAD);
    this.#bytes[COMMAND_BYTES] = NO_ANSWER;
    this.#list.clear().addReadable(this.#memory, HEAD);
    if (data.length > 0) this.#list.addReadable(this.#memory + HEAD, data.length);
    this.#list.addWritable(this.#memory + COMMAND_BYTES, 1);
    const { queue, kick } = this.link;
    if (queue.add(this.#list) === NO_CHAIN) {
      throw queue.fault ?? new VhostError('ENOBUFS', 'the control queue is full');
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (queue.publish()) kick.signal();
      if (queue.enableCallbacks()) this.#onCall();
    });
  }

  #onCall(): void {
    const { queue } = this.link;
    const taken = queue.takeUsed();
    if (taken === NO_CHAIN && queue.fault === undefined) return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (queue.fault !== undefined) waiting?.reject(queue.fault);
    else waiting?.resolve(this.#bytes[COMMAND_BYTES] === DONE);
  }
}
