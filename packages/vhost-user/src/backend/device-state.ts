import { MAX_STATE_BYTES, VhostError, type VirtioDevice } from '@rxvhost/core';
import { type ByteTransfer, readAll, writeAll } from '../channel/byte-transfer.js';
import type { ReceivedFds } from '../channel/received-fds.js';
import { DEVICE_STATE_DIRECTION, type DeviceStateParameters } from '../protocol/device-state.js';

/** Milliseconds that CHECK_DEVICE_STATE waits for the pipe's other end. */
export const STATE_TIMEOUT = 2000;

/**
 * A device's state on its way to or from the front-end (DEVICE_STATE). It goes through a pipe that the
 * front-end brings, while the event loop goes on: a front-end that neither reads nor writes nor closes
 * costs a descriptor and at most `MAX_STATE_BYTES` until its connection ends, or until it asks how the
 * transfer went: by then it has seen the end of the pipe, or written it, so all that is left is
 * what the kernel still holds.
 */
export class DeviceStateTransfer {
  #transfer: ByteTransfer<unknown> | undefined;
  #outcome: Promise<void> | undefined;

  /** @param timeout - milliseconds, see {@link check} */
  constructor(
    private readonly device: VirtioDevice,
    private readonly timeout = STATE_TIMEOUT,
  ) {}

  /**
   * Begins to save or load through the message's one descriptor. Throws `EBUSY` while a transfer is
   * under way, `EINVAL` for a direction or phase that there is not and for what is no pipe, and what
   * the device throws.
   */
  begin({ direction, phase }: DeviceStateParameters, fds: ReceivedFds): void {
    const { device } = this;
    if (!device.saveState || !device.loadState) {
      throw new VhostError('EOPNOTSUPP', 'this device has no state');
    }
    if (phase !== 0) throw new VhostError('EINVAL', `device state: phase ${phase} is not 0`);
    if (this.#transfer?.ended === false) {
      throw new VhostError('EBUSY', 'a state of the device is being transferred already');
    }
    switch (direction) {
      case DEVICE_STATE_DIRECTION.SAVE: {
        const transfer = writeAll(fds.peek(0), device.saveState());
        this.#follow(transfer, transfer.done);
        break;
      }
      case DEVICE_STATE_DIRECTION.LOAD: {
        const transfer = readAll(fds.peek(0), MAX_STATE_BYTES);
        this.#follow(
          transfer,
          transfer.done.then((state) => device.loadState?.(state)),
        );
        break;
      }
      default:
        throw new VhostError('EINVAL', `device state: direction ${direction} is not 0 or 1`);
    }
    fds.take(0);
  }

  /**
   * How the last transfer went; a second time there is nothing to tell. Rejects with `EINVAL` when
   * there was none, `ETIMEDOUT` when the other end of the pipe does not go along, and what went wrong.
   */
  async check(): Promise<void> {
    const transfer = this.#transfer;
    const outcome = this.#outcome;
    this.#outcome = undefined;
    if (transfer === undefined || outcome === undefined) {
      throw new VhostError('EINVAL', 'no state of the device was transferred');
    }
    const timer = setTimeout(() => {
      transfer.cancel(new VhostError('ETIMEDOUT', 'the state of the device came to a standstill'));
    }, this.timeout);
    try {
      await outcome;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends what is under way. */
  cancel(): void {
    this.#transfer?.cancel(new VhostError('ECANCELED', 'the front-end has gone'));
  }

  #follow(transfer: ByteTransfer<unknown>, outcome: Promise<void>): void {
    outcome.catch(() => undefined);
    this.#transfer = transfer;
    this.#outcome = outcome;
  }
}
