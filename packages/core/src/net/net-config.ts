import { type Observable, Subject } from 'rxjs';
import type { ConfigSpace } from '../device/virtio-device.js';
import { VhostError } from '../errors/vhost-error.js';
import { MAX_INDIRECTION_ENTRIES } from './control/rss-commands.js';
import { SUPPORTED_HASH_TYPES } from './steering/flow-hash.js';
import { HASH_KEY_LENGTH } from './steering/toeplitz.js';

const LINK_UP = 1;
const ANNOUNCE = 2;
const STATUS_AT = 6;
/** Bytes without, and with, what is said of hashing. */
const SIZE = 12;
const HASHING_SIZE = 24;
const MIN_MTU = 68;
const MAX_MTU = 65535;

/**
 * What the driver reads of a NIC (virtio 1.2, 5.1.4): MAC at 0, status at 6, pairs at 8, MTU at 10;
 * for a NIC that hashes the longest key at 17, entries of the indirection table at 18, types of hash
 * at 20.
 */
export class NetConfigSpace implements ConfigSpace {
  readonly size: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #initial: Uint8Array;
  readonly #changes = new Subject<void>();

  /** Emits when the device has changed something that its driver should look at (T62). */
  readonly changes$: Observable<void> = this.#changes.asObservable();

  /**
   * @param mac - 6 bytes, or undefined for a NIC that leaves the choice to the guest
   * @param hashes - whether it can hash what it receives
   */
  constructor(
    mac: Uint8Array | undefined,
    queuePairs: number,
    mtu: number | undefined,
    hashes = false,
  ) {
    this.size = hashes ? HASHING_SIZE : SIZE;
    this.#bytes = new Uint8Array(this.size);
    if (mac !== undefined) this.#bytes.set(checkMac(mac), 0);
    const view = new DataView(this.#bytes.buffer);
    view.setUint16(STATUS_AT, LINK_UP, true);
    view.setUint16(8, queuePairs, true);
    if (mtu !== undefined) view.setUint16(10, checkMtu(mtu), true);
    if (hashes) {
      view.setUint8(17, HASH_KEY_LENGTH);
      view.setUint16(18, MAX_INDIRECTION_ENTRIES, true);
      view.setUint32(20, SUPPORTED_HASH_TYPES, true);
    }
    this.#initial = this.#bytes.slice();
  }

  /** The MAC address, 6 bytes. */
  get mac(): Uint8Array {
    return this.#bytes.slice(0, 6);
  }

  /** The driver's choice of a MAC address; false for a multicast address. */
  setMac(mac: Uint8Array): boolean {
    if (((mac[0] as number) & 1) !== 0) return false;
    this.#bytes.set(mac, 0);
    return true;
  }

  /** Whether the driver is asked to tell the network where it is (virtio 1.2, 5.1.6.5.4). */
  setAnnounce(wanted: boolean): void {
    this.#setStatus(ANNOUNCE, wanted);
    if (wanted) this.#changes.next();
  }

  /** Whether the driver is asked so. */
  get announces(): boolean {
    return ((this.#bytes[STATUS_AT] as number) & ANNOUNCE) !== 0;
  }

  /** What another NIC has shown the driver, which goes on with this one. `EINVAL` as for a new NIC. */
  restore({ mac, mtu }: { readonly mac: Uint8Array; readonly mtu: number }): void {
    checkMac(mac);
    if (mtu !== 0) this.checkFrontEndMtu(mtu);
    this.#bytes.set(mac, 0);
    if (mtu !== 0) new DataView(this.#bytes.buffer).setUint16(10, mtu, true);
  }

  /** What the next driver is to see: what the NIC was made with, and the link as it is. */
  reset(): void {
    const status = this.#bytes.slice(STATUS_AT, STATUS_AT + 1);
    this.#bytes.set(this.#initial);
    this.#bytes.set(status, STATUS_AT);
  }

  /** Whether there is a link; told to the driver if that has changed. */
  setLink(up: boolean): void {
    if (this.#setStatus(LINK_UP, up)) this.#changes.next();
  }

  #setStatus(bit: number, set: boolean): boolean {
    const before = this.#bytes[STATUS_AT] as number;
    const after = set ? before | bit : before & ~bit;
    this.#bytes[STATUS_AT] = after;
    return after !== before;
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
    if (!Number.isInteger(offset) || offset < 0 || length < 0 || end > this.size) {
      throw new VhostError(
        'EINVAL',
        `configuration bytes ${offset} … ${end} of a space of ${this.size} bytes`,
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
