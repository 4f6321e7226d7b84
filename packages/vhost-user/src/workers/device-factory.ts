import type { DeviceState, NetStatistics, QueueFault, VirtioDevice } from '@rxvhost/core';
import type { Observable } from 'rxjs';

/** What a worker thread serves: a device that tells what it does. `VhostNet` is one. */
export interface ObservableDevice<Statistics = NetStatistics> extends VirtioDevice {
  readonly state$: Observable<DeviceState>;
  readonly errors$: Observable<QueueFault>;
  /** The first ones at once, then more from time to time, while subscribed. Plain values. */
  readonly stats$: Observable<Statistics>;
  /** As they are now. */
  statistics(): Statistics;
}

/**
 * Makes a device in the thread that will serve it: the default export of a worker's module.
 *
 * @param options - as {@link DeviceWorkers.serve} was given them, copied as `structuredClone` does;
 * memory and sockets cannot be, so open backends here
 * @returns the device, which the worker closes with its server. What this throws, `serve` rejects with
 */
export type DeviceFactory<Options, Statistics = NetStatistics> = (
  options: Options,
) => ObservableDevice<Statistics> | Promise<ObservableDevice<Statistics>>;
