import { closeFd } from '@rxvhost/sys';
import { protocolFeatures } from '../protocol/features.js';
import type { InflightMemory } from '../protocol/payloads.js';
import type { Agreement } from './frontend-requests.js';
import type { RequestConnection } from './request-connection.js';

/**
 * The memory in which back-ends note what they have in their hands (INFLIGHT_SHMFD), kept by the
 * front-end over all of them: the first one makes it, each next one is handed it, and finds what the
 * one before had taken from the rings and not given back.
 *
 * It belongs to the rings as they are: call {@link close} when the guest has reset its device.
 */
export class InflightFile {
  #memory: InflightMemory | undefined;

  /** Whether a back-end has made the memory. */
  get made(): boolean {
    return this.#memory !== undefined;
  }

  /**
   * Gives the memory to a back-end, once features are negotiated and before a queue starts. One that
   * has not agreed to INFLIGHT_SHMFD will not keep it right: then it is let go of.
   *
   * Rejects as {@link RequestConnection.request}: `EINVAL` for example from a back-end with fewer or
   * smaller queues.
   * @param queueSize - of the largest queue
   */
  async handTo(
    backEnd: RequestConnection,
    agreement: Agreement,
    queueCount: number,
    queueSize: number,
  ): Promise<void> {
    if ((agreement.protocolFeatures & protocolFeatures('INFLIGHT_SHMFD')) === 0n) {
      this.close();
      return;
    }
    const wanted = { mmapSize: 0, mmapOffset: 0, queueCount, queueSize };
    this.#memory ??= await backEnd.request('GET_INFLIGHT_FD', wanted);
    const { fd, ...memory } = this.#memory;
    await backEnd.request('SET_INFLIGHT_FD', memory, [fd]);
  }

  /** Lets the memory go; the next back-end is asked for new one. Not while connected. */
  close(): void {
    const memory = this.#memory;
    this.#memory = undefined;
    if (memory !== undefined) closeFd(memory.fd);
  }
}
