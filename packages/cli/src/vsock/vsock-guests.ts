import type { VhostError } from '@rxvhost/core';
import {
  EndpointSwitch,
  HOST_CID,
  SiblingNetwork,
  type VhostVsock,
  VsockEndpoint,
} from '@rxvhost/vsock';
import { UnixGateway } from '@rxvhost/vsock/unix';
import type { Container } from 'inversify';
import { throttleTime } from 'rxjs';
import { createVsock } from '../container.js';
import { explainEndpoint } from '../front-end/explain-endpoint.js';
import { inThisThread, type ServedDevice } from '../front-end/serve-devices.js';
import type { Terminal } from '../terminal.js';
import type { GuestOptions, VsockOptions } from './vsock-options.js';

/** Programs and guests can cause faults at will: they reach the log at most this often, in ms. */
const FAULT_PERIOD = 1000;

interface Guest {
  readonly cid: number;
  readonly device: VhostVsock;
  readonly host: VsockEndpoint;
  readonly gateway: UnixGateway | undefined;
}

/** The guests of one `rxvhost vsock`: their devices, the host's sockets, what is forwarded. */
export class VsockGuests {
  readonly served: readonly ServedDevice[];
  readonly #guests: Guest[] = [];

  /** Throws `EnvironmentError` when a path of the host's sockets cannot be listened at. */
  constructor(container: Container, options: VsockOptions, terminal: Terminal) {
    const network = new SiblingNetwork(options.forwards);
    const several = options.guests.length > 1;
    try {
      this.served = options.guests.map((guest) => {
        const { cid, endpoint, udsPath } = guest;
        const { device } = this.#add(container, guest, options, network, terminal);
        const sockets = udsPath === undefined ? '' : `, host sockets at ${udsPath}`;
        const label = several ? { label: `guest ${cid}` } : {};
        return { ...inThisThread(device), endpoint, what: `guest CID ${cid}${sockets}`, ...label };
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Of one guest its counters, of several an object of them by CID. */
  statistics(): unknown {
    const all = this.#guests.map(({ cid, device, host, gateway }) => [
      cid,
      { device: device.statistics(), connections: host.statistics(), host: gateway?.counters },
    ]);
    return all.length === 1 ? all[0]?.[1] : Object.fromEntries(all);
  }

  /** Ends the host's sockets. The devices are closed by whoever serves them. */
  close(): void {
    for (const { gateway } of this.#guests) gateway?.close();
  }

  #add(
    container: Container,
    { cid, udsPath }: GuestOptions,
    options: VsockOptions,
    network: SiblingNetwork,
    terminal: Terminal,
  ): Guest {
    const host = new VsockEndpoint({ cid: HOST_CID });
    const endpoints = new EndpointSwitch();
    endpoints.add(HOST_CID, host);
    network.join({ cid, endpoints });
    const device = createVsock(container, endpoints, {
      guestCid: cid,
      reaches: (to) => endpoints.has(to),
      ...options.device,
    });
    const gateway = udsPath === undefined ? undefined : openGateway(udsPath, host, device);
    gateway?.errors$
      .pipe(throttleTime(FAULT_PERIOD))
      .subscribe((error) => terminal.say(`host sockets of guest ${cid}: ${error.message}`));
    const guest = { cid, device, host, gateway };
    this.#guests.push(guest);
    return guest;
  }
}

function openGateway(path: string, host: VsockEndpoint, device: VhostVsock): UnixGateway {
  try {
    return new UnixGateway(host, path, () => device.guestCid);
  } catch (error) {
    throw explainEndpoint({ kind: 'listen', path }, error as VhostError);
  }
}
