import { BACKEND_PROVIDER } from '@rxvhost/core';
import { ContainerModule } from 'inversify';
import { RawProvider } from './raw-provider.js';

/** Adds packet sockets to the backend provider chain. Load it before the modules of other kinds. */
export const rawModule = new ContainerModule(({ bind }) => {
  bind(BACKEND_PROVIDER).toDynamicValue(() => new RawProvider());
});
