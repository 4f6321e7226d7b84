import { macvtapModule } from '@rxvhost/backend-macvtap';
import { rawModule } from '@rxvhost/backend-raw';
import { tapModule } from '@rxvhost/backend-tap';
import {
  BACKEND,
  BACKEND_CHAIN,
  type BackendChain,
  coreModule,
  FRAME_COPIER,
  type FrameCopier,
  NET_OPTIONS,
  netModule,
  type PacketSocket,
  VhostNet,
  type VhostNetOptions,
} from '@rxvhost/core';
import { NativeCopier } from '@rxvhost/sys';
import {
  type PacketEndpoint,
  VhostVsock,
  type VhostVsockOptions,
  VSOCK_ENDPOINT,
  VSOCK_OPTIONS,
  vsockModule,
} from '@rxvhost/vsock';
import { Container, ContainerModule, type ServiceIdentifier } from 'inversify';
import type { BackendFactory } from './backends/backend-factory.js';
import { IpBackendFactory } from './backends/ip-factory.js';
import { MacvtapBackendFactory } from './backends/macvtap-factory.js';
import { RawBackendFactory } from './backends/raw-factory.js';
import {
  FdBackendFactory,
  LoopbackBackendFactory,
  NullBackendFactory,
} from './backends/simple-factories.js';
import { TapBackendFactory } from './backends/tap-factory.js';

/** What `--backend=` can name, in the order of `--help`: a multi-binding. */
export const BACKEND_FACTORY: ServiceIdentifier<BackendFactory> =
  Symbol.for('rxvhost.BackendFactory');

/** The native copier in place of the plain one, and the kinds of backend that the command knows. */
const cliModule = new ContainerModule(({ bind, rebind }) => {
  rebind<FrameCopier>(FRAME_COPIER)
    .toResolvedValue(() => new NativeCopier())
    .inSingletonScope();
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(() => new NullBackendFactory());
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(
    (copier: FrameCopier) => new LoopbackBackendFactory(copier),
    [FRAME_COPIER],
  );
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(() => new TapBackendFactory());
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(() => new RawBackendFactory());
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(() => new IpBackendFactory());
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(() => new MacvtapBackendFactory());
  bind<BackendFactory>(BACKEND_FACTORY).toResolvedValue(
    (chain: BackendChain) => new FdBackendFactory(chain),
    [BACKEND_CHAIN],
  );
});

/**
 * Everything that the command is made of: the one place where it is put together. Backend providers
 * are asked in the order in which their modules are loaded, as the kernel's vhost-net asks (seed C10).
 */
export function createContainer(): Container {
  const container = new Container();
  container.load(coreModule, rawModule, tapModule, macvtapModule, cliModule);
  return container;
}

/** A NIC out of the container, one of several that there may be; it owns its backends, one a queue pair. */
export function createNic(
  container: Container,
  backends: PacketSocket | readonly PacketSocket[],
  options: VhostNetOptions,
): VhostNet {
  const own = new Container({ parent: container });
  for (const backend of [backends].flat()) {
    own.bind<PacketSocket>(BACKEND).toConstantValue(backend);
  }
  own.bind<VhostNetOptions>(NET_OPTIONS).toConstantValue(options);
  own.load(netModule);
  return own.get(VhostNet);
}

/** A vsock device out of the container, one of several that there may be. */
export function createVsock(
  container: Container,
  endpoint: PacketEndpoint,
  options: Omit<VhostVsockOptions, 'endpoint'>,
): VhostVsock {
  const own = new Container({ parent: container });
  own.bind<PacketEndpoint>(VSOCK_ENDPOINT).toConstantValue(endpoint);
  own.bind<Omit<VhostVsockOptions, 'endpoint'>>(VSOCK_OPTIONS).toConstantValue(options);
  own.load(vsockModule);
  return own.get(VhostVsock);
}
