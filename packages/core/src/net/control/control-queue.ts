import { Standstill } from '../../device/standstill.js';
import { viewOf } from '../../memory/copy-bytes.js';
import { PacketBatch } from '../../virtqueue/packet-batch.js';
import type { Virtqueue } from '../../virtqueue/virtqueue.js';
import type { NetQueue, NetQueueContext, QueueAttachment } from '../net-queue.js';
import { type HandlerCounters, newHandlerCounters } from '../net-statistics.js';
import { CONTROL_ACK } from './control-commands.js';
import { CONTROL_TABLE } from './control-table.js';
import type { ControlledNic } from './controlled-nic.js';

/** Commands obeyed in one turn; more wait for the next, so that other devices get theirs (T43). */
const COMMANDS_PER_TURN = 32;
/** Class and command. */
const COMMAND_HEAD = 2;
/** Bytes of the longest command that means anything: a full table of addresses, with room. */
const MAX_COMMAND = 64 * 1024;

/**
 * Obeys what a driver asks on the control queue, one command after the other; the chains come from
 * the same walker as every queue's (hazard T38b). See `control-commands.ts` for the commands.
 */
export class ControlQueue implements NetQueue {
  readonly counters: HandlerCounters;
  attachment: QueueAttachment | undefined;

  readonly #command = new PacketBatch(1);
  readonly #answer = new PacketBatch(1);
  readonly #bytes = new Uint8Array(MAX_COMMAND);
  readonly #standstill: Standstill;

  constructor(
    private readonly context: NetQueueContext,
    private readonly nic: ControlledNic,
  ) {
    this.counters = newHandlerCounters(context.vring.index, 'control');
    this.#standstill = new Standstill((error) => context.fail(error));
  }

  start(attachment: QueueAttachment): void {
    this.attachment = attachment;
    this.#standstill.end();
    this.context.work.queue(this);
  }

  stop(): void {
    this.attachment = undefined;
    this.context.work.cancel(this);
  }

  settled(): undefined {
    return undefined;
  }

  kicked(): void {
    this.#standstill.end();
    if (this.attachment !== undefined) this.context.work.runOrQueue(this);
  }

  run(): void {
    for (let commands = 0; commands < COMMANDS_PER_TURN; ) {
      // A command may have stopped this very queue.
      if (this.attachment === undefined || this.#standstill.begun) return;
      const queue = this.context.vring.reach();
      if (queue === undefined) return;
      if (queue.takeExchange(this.#command, this.#answer) > 0) {
        this.#obey(queue);
        commands += 1;
      } else if (queue.fault !== undefined) {
        this.#standstill.begin(queue, queue.fault);
        return;
      } else if (!queue.enableNotifications()) {
        return;
      }
    }
    this.context.work.queue(this);
  }

  /** A command without room for an answer is not obeyed, as nobody would know of it. */
  #obey(queue: Virtqueue): void {
    const command = this.#command;
    const answer = this.#answer;
    const whole = command.frameLength(0) <= MAX_COMMAND;
    const length = command.copyFrame(0, this.#bytes);
    if (answer.frameLength(0) > 0) {
      const obeyed = whole && length >= COMMAND_HEAD && this.#dispatch(length);
      answer.deliver(Uint8Array.of(obeyed ? CONTROL_ACK.OK : CONTROL_ACK.ERROR));
      this.counters.bytes += length;
      if (obeyed) this.counters.frames += 1;
      else this.counters.drops.refused += 1;
    } else {
      answer.deliverNothing();
      this.counters.drops.malformed += 1;
    }
    queue.completeWritable(answer);
    this.context.vring.callIfWanted();
  }

  #dispatch(length: number): boolean {
    const [commandClass, command] = this.#bytes;
    const row = CONTROL_TABLE.find(
      (candidate) => candidate.class === commandClass && candidate.command === command,
    );
    if (row === undefined || (row.features & this.nic.features) === 0n) return false;
    const data = viewOf(this.#bytes.subarray(COMMAND_HEAD, length));
    return data.byteLength >= row.length && row.run(this.nic, data);
  }
}
