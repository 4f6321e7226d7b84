import { check } from './failure.js';
import { FdPoll } from './fd-poll.js';
import { type Handle, loadNative, type Native } from './native.js';

const NOBODY = -1;

/** An eventfd that the SIGBUS handler signals, on this thread's event loop. */
interface Waker {
  readonly fd: number;
  readonly poll: FdPoll;
}

/**
 * Tells who asked when pages of a mapping have gone missing (hazard T20). The SIGBUS handler can do
 * little more than write to an eventfd; this thread has one while somebody waits, and looks at the
 * mappings that are waited for whenever it is signalled.
 */
class BreakWatch {
  readonly #waiting = new Map<Handle<'mapping'>, () => void>();
  #waker: Waker | undefined;

  /**
   * Calls `listener` in a later turn when `mapping` breaks, unless {@link forget} comes first.
   * Throws `EMFILE`, `ENFILE`, `ENOMEM` where there is no eventfd to be had.
   */
  watch(mapping: Handle<'mapping'>, listener: () => void): void {
    const native = loadNative();
    this.#waker ??= this.#startListening(native);
    this.#waiting.set(mapping, listener);
    native.watchMapping(mapping, this.#waker.fd);
  }

  forget(mapping: Handle<'mapping'>): void {
    if (!this.#waiting.delete(mapping)) return;
    const native = loadNative();
    native.watchMapping(mapping, NOBODY);
    const waker = this.#waker;
    if (this.#waiting.size > 0 || waker === undefined) return;
    this.#waker = undefined;
    waker.poll.close();
    native.close(waker.fd);
  }

  #startListening(native: Native): Waker {
    const fd = check(native.createEventFd(), 'make an eventfd that tells of missing memory');
    const poll = new FdPoll(fd).unref();
    poll.readable$.subscribe(() => {
      native.readEvent(fd);
      for (const [mapping, listener] of [...this.#waiting]) {
        if (native.mappingBroken(mapping)) listener();
      }
    });
    return { fd, poll };
  }
}

/** One for this thread. */
export const breakWatch = new BreakWatch();
