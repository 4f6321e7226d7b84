import { ContainerModule, type ServiceIdentifier } from 'inversify';
import type { EndpointOptions } from '../connection/endpoint-options.js';
import type { Acceptor } from '../connection/roles.js';
import type { Scheduler } from '../connection/scheduler.js';
import { SystemScheduler } from '../connection/scheduler.js';
import { VsockEndpoint } from '../connection/vsock-endpoint.js';
import { Vsock } from '../stream/vsock.js';
import { VSOCK_ENDPOINT } from './vsock-module.js';

/** Our address, limits and so on of the endpoint that {@link socketsModule} makes. */
export const ENDPOINT_OPTIONS: ServiceIdentifier<EndpointOptions> =
  Symbol.for('rxvhost.EndpointOptions');
/** Where connections get their time from; the engine's timers unless bound anew. */
export const SCHEDULER: ServiceIdentifier<Scheduler> = Symbol.for('rxvhost.Scheduler');
/** Who decides about ports that nobody listens on; optional. */
export const ACCEPTOR: ServiceIdentifier<Acceptor> = Symbol.for('rxvhost.Acceptor');

/**
 * An endpoint with sockets over it: {@link Vsock}, {@link VsockEndpoint}, and the same endpoint as the
 * {@link VSOCK_ENDPOINT} of the device that `vsockModule` makes.
 */
export const socketsModule = new ContainerModule(({ bind }) => {
  bind<Scheduler>(SCHEDULER)
    .toResolvedValue(() => new SystemScheduler())
    .inSingletonScope();
  bind<VsockEndpoint>(VsockEndpoint)
    .toResolvedValue(
      (options: EndpointOptions, scheduler: Scheduler, fallback: Acceptor | undefined) =>
        new VsockEndpoint({ scheduler, ...(fallback && { fallback }), ...options }),
      [ENDPOINT_OPTIONS, SCHEDULER, { optional: true, serviceIdentifier: ACCEPTOR }],
    )
    .inSingletonScope();
  bind<Vsock>(Vsock)
    .toResolvedValue((endpoint: VsockEndpoint) => new Vsock(endpoint), [VsockEndpoint])
    .inSingletonScope();
  bind(VSOCK_ENDPOINT).toService(VsockEndpoint);
});
