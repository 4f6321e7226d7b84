import type { BackendChain } from '../backend/backend-provider.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import { VhostError } from '../errors/vhost-error.js';
import type { NetQueue } from './net-queue.js';
import { effectiveOffloads } from './offload/offload-features.js';

/**
 * What a NIC's queues are attached to: the backends that it was made with, one for each pair, and
 * those that a front-end gave it as fds, which are its own to close.
 */
export class NetBackends {
  /** By queue. */
  readonly #opened = new Map<number, PacketSocket>();

  constructor(
    private readonly backends: readonly PacketSocket[],
    private readonly providers: BackendChain | undefined,
  ) {}

  /** What queue `index` is attached to when a transport runs it. `ENOTSOCK` where there is nothing. */
  of(index: number): PacketSocket {
    const backend = this.#opened.get(index) ?? this.backends[index >> 1];
    if (backend === undefined) throw new VhostError('ENOTSOCK', `queue ${index} has no backend`);
    return backend;
  }

  /** Asks the providers; `ENOTSOCK` when none takes the fd. The caller owns the socket. */
  open(fd: number): PacketSocket {
    if (this.providers === undefined) {
      throw new VhostError('ENOTSOCK', `no backend provider to ask about fd ${fd}`);
    }
    return this.providers.open(fd);
  }

  /** What was opened for queue `index`. */
  opened(index: number): PacketSocket | undefined {
    return this.#opened.get(index);
  }

  /** Queue `index` has this opened socket from now on, to be closed with it; or none. */
  setOpened(index: number, socket: PacketSocket | undefined): void {
    if (socket === undefined) this.#opened.delete(index);
    else this.#opened.set(index, socket);
  }

  /** Closes what was opened. */
  forget(): void {
    for (const socket of this.#opened.values()) socket.close();
    this.#opened.clear();
  }

  /** Closes everything. */
  close(): void {
    this.forget();
    for (const backend of this.backends) backend.close();
  }
}

/**
 * Tells a backend what the driver has accepted, and whether frames may come its way (T54, T58).
 * @param users - the queues that are attached to it
 */
export function tellBackend(
  socket: PacketSocket,
  users: readonly NetQueue[],
  features: bigint,
): void {
  const { offloads } = socket;
  if (offloads !== undefined) {
    const accepted = users.length === 0 ? 0n : effectiveOffloads(features);
    offloads.accept(accepted & offloads.supported);
  }
  const receives = users.some(
    ({ attachment, counters }) => counters.direction === 'receive' && !attachment?.unused,
  );
  socket.setSteering?.(receives);
}
