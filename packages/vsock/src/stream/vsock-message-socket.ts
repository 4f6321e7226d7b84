import { VhostError } from '@rxvhost/core';
import type { Connection, Message } from '../connection/roles.js';
import { type SocketOptions, VsockSocket } from './vsock-socket.js';

/** What a message socket may be given to write. */
export type Writable = string | Uint8Array | Message;

/** How a message socket behaves. */
export interface MessageSocketOptions extends SocketOptions {
  /** Read {@link Message}s, which tell where records end, rather than `Buffer`s. */
  readonly records?: boolean;
}

/**
 * A vsock connection that keeps messages apart (`SOCK_SEQPACKET`): what is written at once is read at
 * once, empty messages too (hazard T79). A stream in object mode: every chunk is one message.
 */
export class VsockMessageSocket extends VsockSocket {
  readonly #records: boolean;
  #connection: Connection | undefined;

  constructor(options: MessageSocketOptions = {}) {
    super(options, true);
    this.#records = options.records ?? false;
  }

  override attach(connection: Connection, open: boolean): this {
    this.#connection = connection;
    return super.attach(connection, open);
  }

  /**
   * Writes one message. Returns false when the caller should wait for `drain`. Throws `EMSGSIZE`
   * for one that is longer than the peer's buffer; writing it all the same ends the socket.
   */
  sendMessage(bytes: string | Uint8Array, options: { endOfRecord?: boolean } = {}): boolean {
    const message = { bytes: Buffer.from(bytes), endOfRecord: options.endOfRecord ?? false };
    const limit = this.connecting ? undefined : this.#connection?.peerBufferSize;
    if (limit !== undefined && message.bytes.length > limit) {
      const sizes = `a message of ${message.bytes.length} bytes, the peer keeps ${limit}`;
      throw new VhostError('EMSGSIZE', `vsock: ${sizes}`);
    }
    return this.write(message);
  }

  protected override sendChunk(
    connection: Connection,
    chunk: Writable,
    done: ((error?: Error | null) => void) | undefined,
  ): void {
    const { bytes, endOfRecord } = toMessage(chunk);
    this.bytesWritten += bytes.length;
    connection.send(bytes, done, endOfRecord);
  }

  protected override takeChunk(
    connection: Connection,
  ): { chunk: unknown; length: number } | undefined {
    const message = connection.takeMessage();
    if (message === undefined) return undefined;
    return { chunk: this.#records ? message : message.bytes, length: message.bytes.length };
  }
}

function toMessage(chunk: Writable): Message {
  if (typeof chunk === 'string') return { bytes: Buffer.from(chunk), endOfRecord: false };
  return chunk instanceof Uint8Array ? { bytes: chunk, endOfRecord: false } : chunk;
}
