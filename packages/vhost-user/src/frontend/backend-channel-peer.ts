import {
  IOTLB_TYPE,
  type IotlbAccess,
  type IotlbRange,
  toVhostError,
  VhostError,
} from '@rxvhost/core';
import type { Subscription } from 'rxjs';
import { MessageChannel, type ReceivedMessage } from '../channel/message-channel.js';
import { BACKEND_MESSAGES } from '../protocol/backend-messages.js';
import { FLAG_NEED_REPLY, FLAG_REPLY, type MessageHeader, VERSION } from '../protocol/header.js';
import { U64 } from '../protocol/payloads.js';

/** What a front-end does when its back-end asks. */
export interface BackendRequestHandlers {
  /** Where an I/O virtual address leads; undefined where nothing is mapped. */
  translate?(address: number, access: IotlbAccess): IotlbRange | undefined;
  /** The device's configuration space has changed. */
  configChanged?(): void;
  /** A ring without an eventfd has used buffers. */
  called?(index: number): void;
  /** A ring without an eventfd for it has failed. */
  failed?(index: number): void;
}

/**
 * The front-end's end of the channel for the back-end's own requests. One is answered at a time; an
 * update that it leads to goes out on the front-end's own connection, and is there before the answer.
 */
export class BackendChannelPeer {
  readonly #channel: MessageChannel;
  #reading: Subscription | undefined;

  /**
   * @param fd - a connected, non-blocking socket; the peer owns it
   * @param update - tells the back-end a translation
   */
  constructor(
    fd: number,
    private readonly handlers: BackendRequestHandlers,
    private readonly update: (range: IotlbRange) => Promise<void>,
  ) {
    this.#channel = new MessageChannel(fd);
    this.#read();
  }

  /** True once either side has closed the channel. */
  get closed(): boolean {
    return this.#channel.closed;
  }

  /** Closes the channel. Later calls do nothing. */
  close(): void {
    this.#channel.close();
  }

  #read(): void {
    if (this.closed) return;
    this.#reading = this.#channel.messages$.subscribe({
      next: (message) => {
        // The next one is read when this one is answered: what a back-end sends does not pile up.
        this.#reading?.unsubscribe();
        message.fds.closeRest();
        void this.#answer(message).then(() => this.#read());
      },
      error: () => this.close(),
      complete: () => this.close(),
    });
  }

  async #answer({ header, payload }: ReceivedMessage): Promise<void> {
    let code = 0;
    try {
      await this.#obey(header, payload);
    } catch (error) {
      code = toVhostError(error).errno;
    }
    if ((header.flags & FLAG_NEED_REPLY) === 0 || this.closed) return;
    try {
      const flags = VERSION | FLAG_REPLY;
      await this.#channel.send({ request: header.request, flags }, U64.encode(BigInt(code)));
    } catch {
      this.close();
    }
  }

  async #obey({ request }: MessageHeader, payload: Uint8Array): Promise<void> {
    switch (request) {
      case BACKEND_MESSAGES.BACKEND_IOTLB_MSG.id:
        await this.#translate(payload);
        return;
      case BACKEND_MESSAGES.BACKEND_CONFIG_CHANGE_MSG.id:
        BACKEND_MESSAGES.BACKEND_CONFIG_CHANGE_MSG.payload.decode(payload);
        this.handlers.configChanged?.();
        return;
      case BACKEND_MESSAGES.BACKEND_VRING_CALL.id:
        this.handlers.called?.(BACKEND_MESSAGES.BACKEND_VRING_CALL.payload.decode(payload).index);
        return;
      case BACKEND_MESSAGES.BACKEND_VRING_ERR.id:
        this.handlers.failed?.(BACKEND_MESSAGES.BACKEND_VRING_ERR.payload.decode(payload).index);
        return;
      default:
        throw new VhostError('EOPNOTSUPP', `message ${request} of the back-end is unknown`);
    }
  }

  async #translate(payload: Uint8Array): Promise<void> {
    const { type, address, access } = BACKEND_MESSAGES.BACKEND_IOTLB_MSG.payload.decode(payload);
    if (type !== IOTLB_TYPE.MISS)
      throw new VhostError('EINVAL', `an IOTLB message of type ${type}`);
    const range = this.handlers.translate?.(Number(address), access as IotlbAccess);
    if (range === undefined) throw new VhostError('EFAULT', 'nothing is mapped there');
    await this.update(range);
  }
}
