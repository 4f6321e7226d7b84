import { BACKEND_PROVIDER } from '@rxvhost/core';
import { ContainerModule } from 'inversify';
import { MacvtapProvider } from './macvtap-provider.js';

/** Adds macvtaps to the backend provider chain. Load it after the module of taps. */
export const macvtapModule = new ContainerModule(({ bind }) => {
  bind(BACKEND_PROVIDER).toDynamicValue(() => new MacvtapProvider());
});
