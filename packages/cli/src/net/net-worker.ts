// What the worker threads of `rxvhost net --workers=N` run: it makes one card, backend and all.
import { VhostError, type VhostNet, type VhostNetOptions } from '@rxvhost/core';
import { planBackend } from '../backends/backend-spec.js';
import { BACKEND_FACTORY, createContainer, createNic } from '../container.js';
import { EnvironmentError } from '../usage-error.js';

/** A card as it is asked for. */
export interface CardRequest {
  /** As `--backend=` takes it, and checked. */
  readonly spec: string;
  readonly nic: VhostNetOptions;
}

/** Throws `EnvironmentError` when the machine refuses the backend: the rest is about the socket. */
export default function makeCard({ spec, nic }: CardRequest): VhostNet {
  const container = createContainer();
  try {
    const backends = planBackend(spec, container.getAll(BACKEND_FACTORY)).open(nic.mtu);
    return createNic(container, backends, nic);
  } catch (error) {
    if (error instanceof VhostError) throw new EnvironmentError(error.message, { cause: error });
    throw error;
  }
}
