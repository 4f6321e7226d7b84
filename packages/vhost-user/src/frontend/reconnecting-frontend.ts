/**
 * A primer on back-ends that come and go. The VM outlives its back-end: guest memory and rings are in
 * the VM's memory, so a new back-end can go on where the last one stopped. It knows nothing of the
 * last one, though: features are negotiated from scratch, memory is shared again, and each ring is
 * set up again, from the index that the *used* ring in guest memory names. What the last back-end had
 * taken and not used is taken once more. A call that it did not come to make is made up for by the
 * front-end, since a call too many does no harm and one too few stops the guest.
 *
 * A packed ring has no used index, and a back-end may give chains back in another order than it took
 * them. So there is a file in which back-ends note what they have in their hands: see InflightFile.
 */
import { VhostError } from '@rxvhost/core';
import {
  asyncScheduler,
  filter,
  Observable,
  ReplaySubject,
  retry,
  type SchedulerLike,
  Subject,
  share,
  throwError,
  timer,
} from 'rxjs';
import { protocolFeatures } from '../protocol/features.js';
import type { Agreement, HandshakeOptions, QueueSetup, SharedRegion } from './frontend-requests.js';
import type { InflightFile } from './inflight-file.js';
import { VhostUserFrontend } from './vhost-user-frontend.js';

/** The device status with which a driver says that it runs: virtio 1.2, 2.1, all bits up to DRIVER_OK. */
const DRIVER_RUNS = 0x0f;
const FIRST_DELAY = 10;
const LONGEST_DELAY = 1000;

/** A queue as each new back-end is told of it. Index 0 is the first one of {@link MachineSetup}. */
export interface LastingQueue extends Omit<QueueSetup, 'base' | 'call'> {
  /**
   * Where to go on: for a split ring the used ring's index, which stands in guest memory. A back-end
   * that finds something in {@link MachineSetup.inflight} goes on from there instead.
   */
  base(): number;
  /** Also raised by the front-end, once for each connection. Undefined makes the guest poll. */
  readonly call: { readonly fd: number; signal(): void } | undefined;
}

/** All that a back-end has to know of a VM. Files and events stay the caller's. */
export interface MachineSetup {
  readonly handshake: HandshakeOptions;
  readonly memory: readonly SharedRegion[];
  readonly queues: readonly LastingQueue[];
  /**
   * Where back-ends note what is in flight (INFLIGHT_SHMFD). Without it, and with back-ends that do not
   * have it, the next one goes on where `base` says.
   */
  readonly inflight?: InflightFile;
}

/** How long to wait before the next try, in milliseconds. */
export interface ReconnectOptions {
  /** After the first failure, 10 by default; twice as long after each further one. */
  readonly firstDelay?: number;
  /** At most, 1000 by default. A connection that lasted as long begins with `firstDelay` again. */
  readonly longestDelay?: number;
  /** Whose time it is; for tests. */
  readonly scheduler?: SchedulerLike;
}

/** A connection whose queues run. */
export interface FrontendConnection {
  readonly frontend: VhostUserFrontend;
  /** What this back-end has agreed to; the next one may agree to something else. */
  readonly agreement: Agreement;
}

/**
 * The front-end's half of a vhost-user device whose back-end may be restarted at any time (T10):
 * connects, sets the machine up, and does it all again when the connection ends, at growing intervals
 * while that fails.
 */
export class ReconnectingFrontend {
  /**
   * Emits each connection once its queues run. Subscribing connects, unsubscribing closes the
   * connection; several subscribers share it, and a late one gets what there is. Fails only with what
   * is no {@link VhostError}: a defect, which trying again does not cure.
   */
  readonly connections$: Observable<FrontendConnection>;
  /** Why a connection ended, or could not be made: `ENOENT`, `ECONNREFUSED`, `ECONNRESET`, … */
  readonly failures$: Observable<VhostError>;

  readonly #failures = new Subject<VhostError>();
  readonly #firstDelay: number;
  readonly #longestDelay: number;
  readonly #scheduler: SchedulerLike;
  #delay: number;

  /**
   * @param path - where back-ends listen
   * Throws `EINVAL` for delays that are no positive numbers.
   */
  constructor(
    private readonly path: string,
    private readonly machine: MachineSetup,
    options: ReconnectOptions = {},
  ) {
    const { firstDelay = FIRST_DELAY, longestDelay = LONGEST_DELAY } = options;
    if (!(firstDelay > 0 && longestDelay >= firstDelay)) {
      throw new VhostError('EINVAL', `reconnecting after ${firstDelay} to ${longestDelay} ms`);
    }
    this.#firstDelay = firstDelay;
    this.#longestDelay = longestDelay;
    this.#scheduler = options.scheduler ?? asyncScheduler;
    this.#delay = firstDelay;
    this.failures$ = this.#failures.asObservable();
    this.connections$ = this.#connection().pipe(
      retry({ delay: (error) => this.#nextTry(error) }),
      share({ connector: () => new ReplaySubject(1) }),
      // A late subscriber has no use for the one that has ended.
      filter(({ frontend }) => !frontend.closed),
    );
  }

  /** One connection, from the socket to its end, which is an error in any case. */
  #connection(): Observable<FrontendConnection> {
    return new Observable((subscriber) => {
      const frontend = VhostUserFrontend.connect(this.path);
      const began = this.#scheduler.now();
      frontend.closed$.subscribe({
        complete: () => {
          if (this.#scheduler.now() - began >= this.#longestDelay) this.#delay = this.#firstDelay;
          subscriber.error(new VhostError('ECONNRESET', `${this.path}: the back-end is gone`));
        },
      });
      this.#setUp(frontend).then(
        (agreement) => subscriber.next({ frontend, agreement }),
        (error: unknown) => subscriber.error(error),
      );
      return () => frontend.close();
    });
  }

  async #setUp(frontend: VhostUserFrontend): Promise<Agreement> {
    const { handshake, memory, queues, inflight } = this.machine;
    const agreement = await frontend.handshake(handshake);
    const largest = Math.max(0, ...queues.map(({ size }) => size));
    await inflight?.handTo(frontend, agreement, queues.length, largest);
    await frontend.shareMemory(memory);
    for (const [index, queue] of queues.entries()) {
      await frontend.startQueue(index, { ...queue, base: queue.base() });
    }
    // Some back-ends start no queue before they have heard this, where they know the message.
    if ((agreement.protocolFeatures & protocolFeatures('STATUS')) !== 0n) {
      await frontend.request('SET_STATUS', DRIVER_RUNS);
    }
    for (const { call } of queues) call?.signal();
    return agreement;
  }

  #nextTry(error: unknown): Observable<unknown> {
    if (!(error instanceof VhostError)) return throwError(() => error);
    const delay = this.#delay;
    this.#delay = Math.min(2 * delay, this.#longestDelay);
    this.#failures.next(error);
    return timer(delay, this.#scheduler);
  }
}
