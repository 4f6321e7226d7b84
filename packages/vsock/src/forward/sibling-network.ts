import type { ConnectionRequest } from '../connection/roles.js';
import { VsockEndpoint } from '../connection/vsock-endpoint.js';
import { relay } from './connection-relay.js';
import type { EndpointSwitch } from './endpoint-switch.js';

/** A port of a guest's that the other guests may connect to. */
export interface Forward {
  /** The guest that is connected to. */
  readonly cid: number;
  /** Its port; every port when left out. */
  readonly port?: number;
}

/** A guest among its siblings. */
export interface Sibling {
  readonly cid: number;
  /** The endpoints that it reaches; those of its siblings are added there. */
  readonly endpoints: EndpointSwitch;
}

/**
 * Guests of one process that may connect to one another, as far as {@link Forward}s say. To a guest
 * each of the others is one more address beside the host's. Connections end here and go on from here,
 * so each guest's memory use and credit are its own affair.
 */
export class SiblingNetwork {
  readonly #guests: Sibling[] = [];

  constructor(private readonly forwards: readonly Forward[]) {}

  /** One guest more; those that are there already reach it, and are reached, where that is allowed. */
  join(guest: Sibling): void {
    for (const other of this.#guests) {
      if (this.#isReachable(other.cid) || this.#isReachable(guest.cid)) this.#link(guest, other);
    }
    this.#guests.push(guest);
  }

  #link(one: Sibling, other: Sibling): void {
    const otherForOne = new VsockEndpoint({ cid: other.cid, peerCid: one.cid });
    const oneForOther = new VsockEndpoint({ cid: one.cid, peerCid: other.cid });
    otherForOne.setFallback({ request: (request) => this.#forward(request, oneForOther) });
    oneForOther.setFallback({ request: (request) => this.#forward(request, otherForOne) });
    one.endpoints.add(other.cid, otherForOne);
    other.endpoints.add(one.cid, oneForOther);
  }

  #forward(request: ConnectionRequest, endpoint: VsockEndpoint): void {
    const { cid, port } = request.local;
    const allowed = this.forwards.some(
      (forward) => forward.cid === cid && (forward.port === undefined || forward.port === port),
    );
    if (allowed) relay(request, endpoint, { cid, port });
    else request.refuse();
  }

  #isReachable(cid: number): boolean {
    return this.forwards.some((forward) => forward.cid === cid);
  }
}
