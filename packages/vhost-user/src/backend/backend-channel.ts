import { missMessage, type QueueMiss, VhostError } from '@rxvhost/core';
import { BrokenStream, MessageChannel, type ReceivedMessage } from '../channel/message-channel.js';
import { BACKEND_MESSAGES, type BackendMessageName } from '../protocol/backend-messages.js';
import { FLAG_NEED_REPLY, FLAG_REPLY, VERSION } from '../protocol/header.js';
import { U64 } from '../protocol/payloads.js';

/** Questions that a front-end may leave unanswered before it is asked for answers no longer. */
const MAX_UNANSWERED = 256;

/** What is said of one ring. */
export type RingMessageName = 'BACKEND_VRING_CALL' | 'BACKEND_VRING_ERR';

/** What an answer is due for. */
type Question =
  | { readonly name: 'BACKEND_IOTLB_MSG'; readonly miss: QueueMiss }
  | { readonly name: RingMessageName; readonly ring: number };

/** What comes of what was sent. */
export interface BackendChannelEvents {
  /** The front-end has no translation. */
  refused(miss: QueueMiss, error: VhostError): void;
  /** The channel has ended by somebody's fault. */
  failed(error: VhostError): void;
  /** A message goes out. */
  sent(name: BackendMessageName, payload: unknown, needReply: boolean): void;
}

/**
 * The back-end's own requests to its front-end. Nobody ever waits here: while the front-end waits
 * for an answer of ours on the other socket it answers nothing on this one, and two that wait for
 * each other wait for ever (hazard T16). An answer is heard when it comes, if it comes.
 *
 * What is to be sent is not a queue of messages but what there is to say: the last miss of each
 * queue, which rings call, and whether the configuration has changed. So a front-end that never reads costs nothing.
 */
export class BackendChannel {
  readonly #channel: MessageChannel;
  readonly #misses = new Map<number, QueueMiss>();
  #configChanged = false;
  /** Rings that have called, or failed, and that nobody has been told of. */
  readonly #rings: Record<RingMessageName, Set<number>> = {
    BACKEND_VRING_CALL: new Set(),
    BACKEND_VRING_ERR: new Set(),
  };
  /** What an answer is due for, in order. */
  readonly #unanswered: Question[] = [];
  #sending = false;

  /**
   * @param fd - a connected, non-blocking socket; the channel owns it
   * @param acknowledged - whether answers can be asked for (REPLY_ACK)
   */
  constructor(
    fd: number,
    private readonly acknowledged: boolean,
    private readonly events: BackendChannelEvents,
  ) {
    this.#channel = new MessageChannel(fd);
    this.#channel.messages$.subscribe({
      next: (message) => this.#receive(message),
      error: (error: unknown) => this.#fail(error),
      complete: () => this.close(),
    });
  }

  /** A queue stands still for want of a translation. */
  tellMiss(miss: QueueMiss): void {
    this.#misses.set(miss.queue, miss);
    this.#send();
  }

  /** Ring `index` calls its driver, or has failed: once more when the last time is answered. */
  tellOfRing(name: RingMessageName, index: number): void {
    this.#rings[name].add(index);
    this.#send();
  }

  /** The configuration space has changed. */
  tellConfigChange(): void {
    this.#configChanged = true;
    this.#send();
  }

  /** Closes the socket; nothing is sent any more. Later calls do nothing. */
  close(): void {
    this.#channel.close();
    this.#misses.clear();
    for (const rings of Object.values(this.#rings)) rings.clear();
  }

  #send(): void {
    while (!this.#sending && !this.#channel.closed) {
      const [miss] = this.#misses.values();
      if (miss !== undefined) {
        this.#misses.delete(miss.queue);
        const needReply = this.acknowledged && this.#unanswered.length < MAX_UNANSWERED;
        if (needReply) this.#unanswered.push({ name: 'BACKEND_IOTLB_MSG', miss });
        const payload = missMessage(miss);
        const bytes = BACKEND_MESSAGES.BACKEND_IOTLB_MSG.payload.encode(payload);
        this.events.sent('BACKEND_IOTLB_MSG', payload, needReply);
        this.#put('BACKEND_IOTLB_MSG', bytes, needReply);
      } else if (this.#configChanged) {
        this.#configChanged = false;
        this.events.sent('BACKEND_CONFIG_CHANGE_MSG', undefined, false);
        this.#put('BACKEND_CONFIG_CHANGE_MSG', new Uint8Array(0), false);
      } else if (
        !this.#sendOfRing('BACKEND_VRING_CALL') &&
        !this.#sendOfRing('BACKEND_VRING_ERR')
      ) {
        return;
      }
    }
  }

  /** One for each ring at a time: whoever takes these wants to have dealt with one before the next. */
  #sendOfRing(name: RingMessageName): boolean {
    const waits = (ring: number) =>
      this.#unanswered.some((question) => question.name === name && question.ring === ring);
    const index = [...this.#rings[name]].find((ring) => !waits(ring));
    if (index === undefined) return false;
    this.#rings[name].delete(index);
    this.#unanswered.push({ name, ring: index });
    const payload = { index, num: 0 };
    this.events.sent(name, payload, true);
    this.#put(name, BACKEND_MESSAGES[name].payload.encode(payload), true);
    return true;
  }

  #put(name: BackendMessageName, payload: Uint8Array, needReply: boolean): void {
    const request = BACKEND_MESSAGES[name].id;
    const flags = needReply ? VERSION | FLAG_NEED_REPLY : VERSION;
    try {
      const unfinished = this.#channel.send({ request, flags }, payload);
      if (unfinished === undefined) return;
      this.#sending = true;
      unfinished.then(
        () => {
          this.#sending = false;
          this.#send();
        },
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Only answers come here. */
  #receive({ header, payload, fds }: ReceivedMessage): void {
    fds.closeRest();
    const isReply = (header.flags & FLAG_REPLY) !== 0;
    const question = this.#unanswered.shift();
    if (
      !isReply ||
      question === undefined ||
      header.request !== BACKEND_MESSAGES[question.name].id
    ) {
      this.#fail(new VhostError('EPROTO', `nobody asked for message ${header.request}`));
      return;
    }
    let accepted: boolean;
    try {
      accepted = U64.decode(payload) === 0n;
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (question.name === 'BACKEND_IOTLB_MSG') this.#missAnswered(question.miss, accepted);
    this.#send();
  }

  #missAnswered(miss: QueueMiss, accepted: boolean): void {
    if (accepted) return;
    const address = `0x${miss.address.toString(16)}`;
    this.events.refused(miss, new VhostError('EFAULT', `${address} is not mapped by the IOMMU`));
  }

  #fail(cause: unknown): void {
    if (this.#channel.closed) return;
    this.close();
    const error = cause instanceof BrokenStream ? cause.cause : cause;
    if (!(error instanceof VhostError)) {
      this.events.failed(new VhostError('EIO', 'the back-end channel failed', { cause: error }));
    } else if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') {
      this.events.failed(error);
    }
  }
}
