import { type ConfigSpace, VhostError } from '@rxvhost/core';
import { isGuestCid } from '../protocol/limits.js';

const SIZE = 8;

/** What the driver reads of a vsock device (virtio 1.2, 5.10.4): the guest's CID, 64 bits at 0. */
export class VsockConfigSpace implements ConfigSpace {
  readonly size = SIZE;
  readonly #bytes = new Uint8Array(SIZE);

  /** @param guestCid - 3 … 2^32 - 2; throws `EINVAL` for any other */
  constructor(guestCid: number) {
    this.guestCid = guestCid;
  }

  get guestCid(): number {
    return this.#view.getUint32(0, true);
  }

  /** Throws `EINVAL` for an address that no guest may have. */
  set guestCid(cid: number) {
    if (!isGuestCid(cid)) {
      throw new VhostError('EINVAL', `CID ${cid} is not within 3 … 4294967294, as a guest's is`);
    }
    this.#view.setUint32(0, cid, true);
  }

  read(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    return this.#bytes.slice(offset, offset + length);
  }

  /** A front-end that restores a guest sets the CID that it had. */
  write(offset: number, bytes: Uint8Array, migration: boolean): void {
    this.#check(offset, bytes.length);
    if (!migration) throw new VhostError('EPERM', "a vsock device's configuration is read-only");
    const after = this.#bytes.slice();
    after.set(bytes, offset);
    const view = new DataView(after.buffer);
    this.guestCid = view.getUint32(4, true) === 0 ? view.getUint32(0, true) : Number.NaN;
  }

  get #view(): DataView {
    return new DataView(this.#bytes.buffer);
  }

  #check(offset: number, length: number): void {
    const end = offset + length;
    if (!Number.isInteger(offset) || offset < 0 || length < 0 || end > SIZE) {
      throw new VhostError(
        'EINVAL',
        `configuration bytes ${offset} … ${end} of a space of ${SIZE} bytes`,
      );
    }
  }
}
