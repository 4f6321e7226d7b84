import type { DeviceState, QueueFault } from '@rxvhost/core';
import {
  BehaviorSubject,
  defer,
  finalize,
  type Observable,
  ReplaySubject,
  Subject,
  share,
} from 'rxjs';

/** What reaches the worker, for {@link RemoteDevice}. */
export interface DeviceLink<Statistics> {
  /** Whether statistics are wanted as they come. */
  watch(on: boolean): void;
  /** Asks once. */
  count(): Promise<Statistics>;
}

/** A device in a worker thread, as far as it is to be seen from here. */
export class RemoteDevice<Statistics> {
  readonly #state$ = new BehaviorSubject<DeviceState>('unowned');
  readonly #errors$ = new Subject<QueueFault>();
  readonly #statistics$ = new Subject<Statistics>();
  #last: Statistics | undefined;

  /** The current state on subscription, then every change. Completes after `closed`. */
  readonly state$: Observable<DeviceState> = this.#state$.asObservable();
  /** What went wrong on its queues, through no fault of ours. */
  readonly errors$: Observable<QueueFault> = this.#errors$.asObservable();
  /** Counters, at once and every second while subscribed; the last ones when the device closes. */
  readonly stats$: Observable<Statistics>;

  constructor(private readonly link: DeviceLink<Statistics>) {
    this.stats$ = defer(() => {
      link.watch(true);
      return this.#statistics$.pipe(finalize(() => link.watch(false)));
    }).pipe(share({ connector: () => new ReplaySubject<Statistics>(1) }));
  }

  /**
   * The counters as they are now; the last ones of a device that has closed. Rejects with `EIO` when
   * the worker ended without telling them.
   */
  statistics(): Promise<Statistics> {
    return this.#last === undefined ? this.link.count() : Promise.resolve(this.#last);
  }

  /** For the server: what the worker says of the device. */
  report(event: { readonly state: DeviceState } | QueueFault): void {
    if ('queue' in event) this.#errors$.next(event);
    else if (event.state !== this.#state$.value) this.#state$.next(event.state);
  }

  /** For the server: counters have come. */
  counted(statistics: Statistics): void {
    this.#statistics$.next(statistics);
  }

  /** For the server: nothing more will come. */
  finish(last: Statistics | undefined): void {
    this.#last = last;
    if (last !== undefined) this.#statistics$.next(last);
    this.#statistics$.complete();
    this.#errors$.complete();
    this.report({ state: 'closed' });
    this.#state$.complete();
  }
}
