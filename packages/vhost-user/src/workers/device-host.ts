import { VhostError } from '@rxvhost/core';
import { duplicateFd } from '@rxvhost/sys';
import type { Subscription } from 'rxjs';
import { type ServeOptions, VhostUserServer } from '../backend/vhost-user-server.js';
import type { DeviceFactory, ObservableDevice } from './device-factory.js';
import { EventRelay } from './event-relay.js';
import type { FromWorker, ToWorker } from './messages.js';
import { toPlainError } from './plain-error.js';

/** The worker's side: makes devices, serves them, and tells the main thread. */
export class DeviceHost<Options, Statistics> {
  readonly #hosted = new Map<number, HostedDevice<Statistics>>();

  /** @param end - ends the thread; called when the main thread says so */
  constructor(
    private readonly factory: DeviceFactory<Options, Statistics>,
    private readonly post: (message: FromWorker<Statistics>) => void,
    private readonly end: () => void,
  ) {}

  receive(message: ToWorker<Options>): void {
    switch (message.kind) {
      case 'serve':
        void this.#serve(message.id, message.options, message.endpoint);
        return;
      case 'end':
        this.end();
        return;
      case 'taken':
        this.#hosted.get(message.id)?.relay.taken();
        return;
      case 'watch':
        this.#hosted.get(message.id)?.watch(message.on);
        return;
      case 'count':
        this.#hosted.get(message.id)?.count();
        return;
      case 'close':
        void this.#hosted.get(message.id)?.server.close();
        return;
    }
  }

  async #serve(id: number, options: Options, endpoint: ServeOptions): Promise<void> {
    const hosted = await this.#open(id, options, endpoint).catch((error: unknown) => {
      this.post({ kind: 'refused', id, error: toPlainError(error) });
    });
    if (hosted === undefined) return;
    this.#hosted.set(id, hosted);
    this.post({ kind: 'serving', id });
    await hosted.server.closed;
    await hosted.close();
    this.#hosted.delete(id);
  }

  async #open(
    id: number,
    options: Options,
    endpoint: ServeOptions,
  ): Promise<HostedDevice<Statistics>> {
    const device = await this.factory(options);
    try {
      const server = new VhostUserServer(device, ownEndpoint(endpoint));
      return new HostedDevice(id, device, server, this.post);
    } catch (error) {
      await device.close().catch(() => {}); // the first error is the one to tell
      throw error;
    }
  }
}

/** The socket itself stays the main thread's, which closes it once it knows what became of this. */
function ownEndpoint(endpoint: ServeOptions): ServeOptions {
  return 'fd' in endpoint ? { ...endpoint, fd: duplicateFd(endpoint.fd) } : endpoint;
}

/** A device with its server, and what is told of them. */
class HostedDevice<Statistics> {
  readonly relay: EventRelay<Statistics>;
  readonly #subscriptions: Subscription[];
  #watching: Subscription | undefined;

  constructor(
    private readonly id: number,
    private readonly device: ObservableDevice<Statistics>,
    readonly server: VhostUserServer,
    private readonly post: (message: FromWorker<Statistics>) => void,
  ) {
    const relay = new EventRelay<Statistics>((events, missed) =>
      post({ kind: 'events', id, events, missed }),
    );
    this.relay = relay;
    this.#subscriptions = [
      device.state$.subscribe((state) => relay.add({ kind: 'deviceState', state })),
      device.errors$.subscribe(({ queue, error }) =>
        relay.add({ kind: 'queueFault', queue, error: toPlainError(error) }),
      ),
      server.state$.subscribe((state) => {
        // That comes when the device has closed too.
        if (state !== 'closed') relay.add({ kind: 'state', state });
      }),
      server.connections$.subscribe(({ id: connection, pid, ended$ }) => {
        relay.add({ kind: 'connected', connection, pid });
        ended$.subscribe({ complete: () => relay.add({ kind: 'ended', connection }) });
      }),
      server.errors$.subscribe(({ error, ...fault }) =>
        relay.add({ kind: 'protocolFault', ...fault, error: toPlainError(error) }),
      ),
    ];
  }

  watch(on: boolean): void {
    this.#watching?.unsubscribe();
    this.#watching = on
      ? this.device.stats$.subscribe((statistics) =>
          this.relay.add({ kind: 'statistics', statistics }),
        )
      : undefined;
  }

  count(): void {
    this.post({ kind: 'counted', id: this.id, statistics: this.device.statistics() });
  }

  /** After the server: the device with its backends. */
  async close(): Promise<void> {
    const errors = await this.device.close().then(
      () => [],
      (error: unknown) => [toPlainError(error)],
    );
    this.watch(false);
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.relay.flush();
    this.post({ kind: 'closed', id: this.id, statistics: this.device.statistics(), errors });
  }
}

/** What a worker's module exports. Throws `EINVAL` where that is no function. */
export function factoryOf<Options, Statistics>(
  module: string,
  exports: object,
): DeviceFactory<Options, Statistics> {
  if ('default' in exports && typeof exports.default === 'function') {
    return exports.default as DeviceFactory<Options, Statistics>;
  }
  throw new VhostError('EINVAL', `${module} has no function that makes a device as default export`);
}
