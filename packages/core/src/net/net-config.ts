import type { ConfigSpace } from '../device/virtio-device.js';
import { VhostError } from '../errors/vhost-error.js';

const LINK_UP = 1;
const SIZE = 12;
const MIN_MTU = 68;
const MAX_MTU = 65535;

/** What the driver reads of a NIC (virtio 1.2, 5.1.4): MAC at 0, status at 6, pairs at 8, MTU at 10. */
export class NetConfigSpace implements ConfigSpace {
  readonly size = SIZE;
  readonly #bytes = new Uint8Array(SIZE);

  /** @param mac - 6 bytes, or undefined for a NIC that leaves the choice to the guest */
  constructor(mac: Uint8Array | undefined, queuePairs: number, mtu: number | undefined) {
    if (mac !== undefined) this.#bytes.set(checkMac(mac), 0);
    const view = new DataView(this.#bytes.buffer);
    view.setUint16(6, LINK_UP, true);
    view.setUint16(8, queuePairs, true);
    if (mtu !== undefined) view.setUint16(10, checkMtu(mtu), true);
  }

  /** The largest packet without its Ethernet header, in bytes; 0 where none was set. */
  get mtu(): number {
    return new DataView(this.#bytes.buffer).getUint16(10, true);
  }

  read(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    return this.#bytes.slice(offset, offset + length);
  }

  write(offset: number, bytes: Uint8Array, migration: boolean): void {
    this.#check(offset, bytes.length);
    if (!migration) throw new VhostError('EPERM', 'the configuration of a NIC is read-only');
    this.#bytes.set(bytes, offset);
  }

  /** `EINVAL` for an MTU that is out of range, or over the one that the guest was told. */
  checkFrontEndMtu(mtu: number): void {
    checkMtu(mtu);
    if (this.mtu !== 0 && mtu > this.mtu) {
      throw new VhostError('EINVAL', `MTU ${mtu} is over this NIC's ${this.mtu}`);
    }
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

function checkMac(mac: Uint8Array): Uint8Array {
  if (mac.length !== 6) throw new VhostError('EINVAL', `a MAC address of ${mac.length} bytes`);
  if (((mac[0] as number) & 1) !== 0) {
    throw new VhostError('EINVAL', 'the MAC address of a NIC must not be a multicast address');
  }
  return mac;
}

function checkMtu(mtu: number): number {
  if (!Number.isInteger(mtu) || mtu < MIN_MTU || mtu > MAX_MTU) {
    throw new VhostError('EINVAL', `MTU ${mtu} is not within ${MIN_MTU} … ${MAX_MTU}`);
  }
  return mtu;
}
