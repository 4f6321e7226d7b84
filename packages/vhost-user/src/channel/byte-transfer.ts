import { VhostError } from '@rxvhost/core';
import { closeFd, FdPoll, fileStatus, readStream, setNonBlocking, writeStream } from '@rxvhost/sys';

/** The most bytes that are moved in one turn of the event loop. */
const BYTES_PER_TURN = 64 * 1024;

/** Bytes on their way through a pipe, as fast as its other end goes along, if it does. */
export interface ByteTransfer<T> {
  /** Whether it is over, one way or the other. */
  readonly ended: boolean;
  /** Resolves when it is over and the descriptor is closed; rejects with why it failed. */
  readonly done: Promise<T>;
  /** Ends it now, if it has not ended, with this error. */
  cancel(error: VhostError): void;
}

/**
 * Writes all of `bytes`, then closes `fd`, which is how the other end knows that this was all. The
 * transfer owns `fd`, unless this throws: `EINVAL` for what is neither pipe nor socket.
 */
export function writeAll(fd: number, bytes: Uint8Array): ByteTransfer<void> {
  let rest = bytes;
  return new PipeTransfer<void>(fd, 'writable$', () => {
    if (rest.length === 0) return { result: undefined };
    const written = writeStream(fd, rest.subarray(0, BYTES_PER_TURN));
    rest = rest.subarray(written ?? 0);
    return rest.length === 0 ? { result: undefined } : undefined;
  });
}

/**
 * Reads until the other end has closed. Rejects with `EFBIG` when more than `limit` bytes come.
 * Ownership and errors as {@link writeAll}.
 */
export function readAll(fd: number, limit: number): ByteTransfer<Uint8Array> {
  const parts: Uint8Array[] = [];
  const target = new Uint8Array(BYTES_PER_TURN);
  let length = 0;
  return new PipeTransfer(fd, 'readable$', () => {
    const read = readStream(fd, target);
    if (read === undefined) return undefined;
    if (read === 0) return { result: new Uint8Array(Buffer.concat(parts)) };
    length += read;
    if (length > limit) throw new VhostError('EFBIG', `more than ${limit} bytes in a pipe`);
    parts.push(target.slice(0, read));
    return undefined;
  });
}

class PipeTransfer<T> implements ByteTransfer<T> {
  readonly done: Promise<T>;
  readonly #poll: FdPoll;
  #end: { resolve(result: T): void; reject(error: unknown): void } | undefined;

  /** @param move - moves some bytes; returns the result when there are no more, or throws */
  constructor(
    readonly fd: number,
    direction: 'readable$' | 'writable$',
    move: () => { result: T } | undefined,
  ) {
    const { kind } = fileStatus(fd);
    if (kind !== 'fifo' && kind !== 'socket') {
      throw new VhostError('EINVAL', `a ${kind} file where a pipe is needed`);
    }
    setNonBlocking(fd);
    this.#poll = new FdPoll(fd);
    this.done = new Promise<T>((resolve, reject) => {
      this.#end = { resolve, reject };
    });
    // Whoever has no more interest in it need not wait for it.
    this.done.catch(() => undefined);
    this.#poll[direction].subscribe({
      next: () => {
        try {
          const moved = move();
          if (moved !== undefined) this.#finish()?.resolve(moved.result);
        } catch (error) {
          this.#finish()?.reject(error);
        }
      },
      error: (error) => this.#finish()?.reject(error),
      complete: () => this.#finish()?.reject(new VhostError('EIO', 'a pipe in error')),
    });
  }

  get ended(): boolean {
    return this.#end === undefined;
  }

  cancel(error: VhostError): void {
    this.#finish()?.reject(error);
  }

  #finish() {
    const end = this.#end;
    if (end === undefined) return undefined;
    this.#end = undefined;
    this.#poll.close();
    closeFd(this.fd);
    return end;
  }
}
