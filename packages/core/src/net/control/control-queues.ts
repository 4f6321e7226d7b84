import { NET_FEATURE } from '../net-features.js';
import type { NetQueueContext } from '../net-queue.js';
import { ControlQueue } from './control-queue.js';
import type { ControlledNic } from './controlled-nic.js';

/** What a NIC with a control queue offers, without what depends on its backends. */
export const CONTROL_FEATURES =
  NET_FEATURE.CTRL_VQ |
  NET_FEATURE.CTRL_RX |
  NET_FEATURE.CTRL_RX_EXTRA |
  NET_FEATURE.CTRL_VLAN |
  NET_FEATURE.CTRL_MAC_ADDR |
  NET_FEATURE.CTRL_GUEST_OFFLOADS |
  NET_FEATURE.GUEST_ANNOUNCE;

const MANY_QUEUES = NET_FEATURE.MQ | NET_FEATURE.RSS;

/**
 * The index of the control queue (virtio 1.2, 5.1.2): after all pairs, if the driver knows of more
 * than one, else after the first. Undefined where none was negotiated.
 */
export function controlQueueIndex(features: bigint, pairs: number): number | undefined {
  if ((features & NET_FEATURE.CTRL_VQ) === 0n) return undefined;
  return (features & MANY_QUEUES) === 0n ? 2 : 2 * pairs;
}

/** A handler for each place where the control queue may be. */
export class ControlQueues {
  readonly #handlers: ReadonlyMap<number, ControlQueue>;

  /** @param contexts - of every vring, by index */
  constructor(
    private readonly nic: ControlledNic,
    contexts: readonly NetQueueContext[],
  ) {
    const handlers = new Map<number, ControlQueue>();
    for (const index of [2, 2 * nic.pairs]) {
      const context = contexts[index];
      if (context !== undefined) handlers.set(index, new ControlQueue(context, nic));
    }
    this.#handlers = handlers;
  }

  /** Every handler, of which one at most is in its place. */
  get all(): readonly ControlQueue[] {
    return [...this.#handlers.values()];
  }

  /** The handler of the control queue, if there is one with the negotiated features. */
  get active(): ControlQueue | undefined {
    const control = controlQueueIndex(this.nic.features, this.nic.pairs);
    return control === undefined ? undefined : this.#handlers.get(control);
  }

  /** The handler of queue `index`, if that is the control queue with the negotiated features. */
  at(index: number): ControlQueue | undefined {
    const control = controlQueueIndex(this.nic.features, this.nic.pairs);
    return index === control ? this.#handlers.get(index) : undefined;
  }
}
