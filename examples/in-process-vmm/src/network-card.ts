import { type PacketSocket, VhostNet } from '@rxvhost/core';
import { VhostUserServer } from '@rxvhost/vhost-user';
import type { Subscription } from 'rxjs';

/** A NIC of ours, served over vhost-user at a socket path: the back-end process of a real setup. */
export class NetworkCard {
  readonly device: VhostNet;
  readonly #server: VhostUserServer;
  readonly #reports: Subscription;

  /**
   * @param cable - what the NIC is plugged into
   * @param report - told of everything that goes wrong, one line each
   */
  constructor(
    readonly socketPath: string,
    mac: Uint8Array,
    cable: PacketSocket,
    report: (problem: string) => void,
  ) {
    this.device = new VhostNet({ backends: cable, mac });
    this.#server = new VhostUserServer(this.device, { socketPath });
    this.#reports = this.device.errors$.subscribe(({ queue, error }) => {
      report(`queue ${queue}: ${error.message}`);
    });
    this.#reports.add(this.#server.errors$.subscribe(({ error }) => report(error.message)));
  }

  async close(): Promise<void> {
    await this.#server.close();
    await this.device.close();
    this.#reports.unsubscribe();
  }
}
