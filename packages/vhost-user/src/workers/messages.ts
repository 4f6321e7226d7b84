/**
 * What the main thread and a worker thread tell each other. The worker makes devices and serves them;
 * requests of front-ends, kicks and packets never leave it. What does is this, all of it plain values:
 *
 *     main thread                          worker
 *     serve   (options, where)        →
 *                                     ←    serving, or refused (why)
 *                                     ←    events  (state, connections, faults, statistics: a batch)
 *     taken                           →
 *     watch   (statistics: yes or no) →
 *     count                           →
 *                                     ←    counted (statistics)
 *     close                           →
 *                                     ←    closed  (last statistics, what went wrong)
 *     end                             →    (the thread ends)
 *
 * A device has one batch of events under way at most: the next waits for `taken`. What happens
 * meanwhile is collected up to a limit, and counted beyond it, so that a guest that does nothing but
 * wrong fills neither thread's memory.
 */
import type { DeviceState } from '@rxvhost/core';
import type { ServerState } from '../backend/device-server.js';
import type { ServeOptions } from '../backend/vhost-user-server.js';
import type { PlainError } from './plain-error.js';

/** Something that the main thread's observables emit. */
export type DeviceEvent<Statistics> =
  | { readonly kind: 'state'; readonly state: ServerState }
  | { readonly kind: 'deviceState'; readonly state: DeviceState }
  | { readonly kind: 'connected'; readonly connection: number; readonly pid: number }
  | { readonly kind: 'ended'; readonly connection: number }
  | {
      readonly kind: 'protocolFault';
      readonly connection: number;
      readonly request?: string;
      readonly error: PlainError;
    }
  | { readonly kind: 'queueFault'; readonly queue: number; readonly error: PlainError }
  | { readonly kind: 'statistics'; readonly statistics: Statistics };

/** To a worker. `id` is the device's, unique in its worker. */
export type ToWorker<Options> =
  | {
      readonly kind: 'serve';
      readonly id: number;
      readonly options: Options;
      readonly endpoint: ServeOptions;
    }
  | { readonly kind: 'taken'; readonly id: number }
  | { readonly kind: 'watch'; readonly id: number; readonly on: boolean }
  | { readonly kind: 'count'; readonly id: number }
  | { readonly kind: 'close'; readonly id: number }
  | { readonly kind: 'end' };

/** From a worker, about the device `id`. */
export type FromWorker<Statistics> =
  | { readonly kind: 'serving'; readonly id: number }
  | { readonly kind: 'refused'; readonly id: number; readonly error: PlainError }
  | {
      readonly kind: 'events';
      readonly id: number;
      readonly events: readonly DeviceEvent<Statistics>[];
      /** Connections and faults for which there was no room before these. */
      readonly missed: number;
    }
  | { readonly kind: 'counted'; readonly id: number; readonly statistics: Statistics }
  | {
      readonly kind: 'closed';
      readonly id: number;
      readonly statistics: Statistics;
      readonly errors: readonly PlainError[];
    };

/** What a worker thread starts with. */
export interface WorkerStart {
  /** The module whose default export is a `DeviceFactory`. */
  readonly module: string;
}
