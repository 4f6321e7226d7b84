import { BACKEND_PROVIDER } from '@rxvhost/core';
import { ContainerModule } from 'inversify';
import { TapProvider } from './tap-provider.js';

/** Adds taps to the backend provider chain, after the providers that are bound already. */
export const tapModule = new ContainerModule(({ bind }) => {
  bind(BACKEND_PROVIDER).toDynamicValue(() => new TapProvider());
});
