import { VhostError } from '@rxvhost/core';
import { closeFd } from '@rxvhost/sys';

/**
 * The file descriptors that came with one message. They are owned here until somebody takes one;
 * whatever nobody took is closed with {@link closeRest} (hazard T24: leaks of exactly these).
 */
export class ReceivedFds {
  readonly #fds: (number | undefined)[];

  constructor(fds: readonly number[]) {
    this.#fds = [...fds];
  }

  /** How many came, taken ones included. */
  get count(): number {
    return this.#fds.length;
  }

  /** The descriptor at `index`, still owned here. Throws `EBADF` when there is none. */
  peek(index: number): number {
    const fd = this.#fds[index];
    if (fd === undefined) {
      throw new VhostError('EBADF', `the message has no file descriptor number ${index}`);
    }
    return fd;
  }

  /** The descriptor at `index`, owned by the caller from here on. */
  take(index: number): number {
    const fd = this.peek(index);
    this.#fds[index] = undefined;
    return fd;
  }

  /** Closes what nobody took. */
  closeRest(): void {
    for (const [index, fd] of this.#fds.entries()) {
      this.#fds[index] = undefined;
      if (fd !== undefined) closeFd(fd);
    }
  }
}
