import type { VhostError, VirtioDevice } from '@rxvhost/core';
import { setNonBlocking, unixPeer } from '@rxvhost/sys';
import { Subscription } from 'rxjs';
import type { ReceivedFds } from '../channel/received-fds.js';
import type { BackendMessageName } from '../protocol/backend-messages.js';
import { hasFeature, type ProtocolFeature } from '../protocol/features.js';
import { BackendChannel, type RingMessageName } from './backend-channel.js';
import type { InbandReports } from './inband-ports.js';

/** Where it is noted what the back-end's own channel does. */
export interface ChannelReports {
  failed(error: VhostError): void;
  sent(name: BackendMessageName, payload: unknown, needReply: boolean): void;
}

/** Reports to nobody. */
export const UNREPORTED: ChannelReports = { failed() {}, sent() {} };

/**
 * What a device has to say to its front-end by itself: translations that it misses, changes of its
 * configuration, and the calls and errors of rings that have no eventfds. It says so over the channel that the front-end gave, and where none was given
 * not at all (hazard T62).
 */
export class DeviceReports implements InbandReports {
  #channel: BackendChannel | undefined;
  #subscription = new Subscription();
  /** Rings that have ever called in band: the next channel begins with them, lest one be lost. */
  readonly #callers = new Set<number>();

  constructor(
    private readonly device: VirtioDevice,
    private readonly reports: ChannelReports,
  ) {}

  /**
   * Takes over the message's one descriptor as the channel, in place of the one before. What queues
   * wait for already is said at once. Throws what `unixPeer` throws for a descriptor that is no
   * connected Unix stream socket.
   * @param negotiated - protocol features
   */
  open(fds: ReceivedFds, negotiated: bigint): void {
    unixPeer(fds.peek(0));
    setNonBlocking(fds.peek(0));
    this.close();
    const has = (name: ProtocolFeature) => hasFeature(negotiated, name);
    const channel = new BackendChannel(fds.take(0), has('REPLY_ACK'), {
      refused: (miss, error) => this.device.refuseIotlbMiss?.(miss, error),
      failed: (error) => this.reports.failed(error),
      sent: (name, payload, needReply) => this.reports.sent(name, payload, needReply),
    });
    this.#channel = channel;
    this.#subscription = new Subscription();
    this.#subscription.add(this.device.iotlbMisses$?.subscribe((miss) => channel.tellMiss(miss)));
    if (has('INBAND_NOTIFICATIONS')) {
      for (const index of this.#callers) this.tellCall(index);
    }
    if (has('CONFIG')) {
      this.#subscription.add(
        this.device.configChanges$?.subscribe(() => channel.tellConfigChange()),
      );
    }
  }

  tellCall(index: number): void {
    this.#callers.add(index);
    this.#tellOfRing('BACKEND_VRING_CALL', index);
  }

  tellError(index: number): void {
    this.#tellOfRing('BACKEND_VRING_ERR', index);
  }

  #tellOfRing(name: RingMessageName, index: number): void {
    this.#channel?.tellOfRing(name, index);
  }

  /** Closes the channel, if there is one. */
  close(): void {
    this.#subscription.unsubscribe();
    this.#channel?.close();
    this.#channel = undefined;
  }
}
