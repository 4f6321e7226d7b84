import { filter, map, type Observable } from 'rxjs';
import { ERRNO, VhostError } from '../../errors/vhost-error.js';
import { type StructCodec, struct, u8, u32, u64, u64OfI386 } from '../../layout/struct-layout.js';
import type { DeviceIotlb, QueueMiss } from '../device-iotlb.js';
import type { VirtioDevice } from '../virtio-device.js';
import { applyIotlbMessage, IOTLB_TYPE, type IotlbMessage, missMessage } from './iotlb-message.js';

/**
 * The device-IOTLB channel of the request interface (seeds A14, B10): what `read`, `write` and `poll`
 * on `/dev/vhost-net` are to a C program. A message is a `struct vhost_msg`: a version, and at byte
 * 8 a `struct vhost_iotlb_msg`, in 72 bytes. In version 1 nothing says how far apart the two are, so
 * that a compiler for i386 leaves 4 bytes less; version 2 fills the gap and is the same for all.
 */

/** `VHOST_BACKEND_F_IOTLB_MSG_V2`, a bit of the *backend features*: misses are told in version 2. */
export const BACKEND_FEATURE_IOTLB_MSG_V2 = 1n << 1n;
/** Bits of `poll`: there is something to read. */
export const POLL_READABLE = 0x41;

const VERSION_1 = 1;
const VERSION_2 = 2;

interface VersionedMessage extends IotlbMessage {
  readonly version: number;
}

/** How one kind of caller lays a message out. */
interface MessageLayout {
  /** Bytes of the whole message, what is reserved included. */
  readonly bytes: number;
  readonly structure: StructCodec<VersionedMessage>;
}

const NATIVE: MessageLayout = {
  bytes: 72,
  structure: struct('vhost_msg', {
    version: u32,
    address: u64,
    size: u64,
    userAddress: u64,
    access: u8,
    type: u8,
  }),
};
const I386: MessageLayout = {
  bytes: 68,
  structure: struct('vhost_msg of i386', {
    version: u32,
    address: u64OfI386,
    size: u64OfI386,
    userAddress: u64OfI386,
    access: u8,
    type: u8,
  }),
};

/** Reads and writes the messages of one device. Answers as a system call: bytes, or −errno. */
export class IotlbChannel {
  /** Version 2 or 1 in what is read. */
  version: 1 | 2 = VERSION_1;
  readonly #told = new WeakSet<QueueMiss>();

  /** Emits when there is something to read, at once if there is already. */
  readonly readable$: Observable<void>;

  constructor(
    private readonly device: VirtioDevice,
    private readonly iotlb: DeviceIotlb,
  ) {
    this.readable$ = iotlb.misses$.pipe(
      filter((miss) => !this.#told.has(miss)),
      map(() => undefined),
    );
  }

  /** What `poll` answers: {@link POLL_READABLE} or 0. */
  poll(): number {
    return this.#next() === undefined ? 0 : POLL_READABLE;
  }

  /**
   * The next miss that was not read yet: of each queue the one that it stands still for now.
   * @returns 72 (68); 0 for less room than that; −`EAGAIN` when there is none
   */
  read(target: Uint8Array, compat = false): number {
    const { bytes, structure } = this.#layout(this.version, compat);
    if (target.length < bytes) return 0;
    const miss = this.#next();
    if (miss === undefined) return -ERRNO.EAGAIN;
    this.#told.add(miss);
    target.fill(0, 0, bytes);
    target.set(structure.encode({ version: this.version, ...missMessage(miss) }));
    return bytes;
  }

  /**
   * Takes one update or invalidation, which is in effect when this returns.
   * @returns 72 (68); −`EINVAL` for an unknown version, too few bytes, an update of none; −`EFAULT`
   * for whatever else is wrong, as the kernel does
   */
  write(message: Uint8Array, compat = false): number {
    if (message.length < u32.size) return -ERRNO.EINVAL;
    const version = u32.read(viewOf(message), 0);
    if (version !== VERSION_1 && version !== VERSION_2) return -ERRNO.EINVAL;
    const { bytes, structure } = this.#layout(version, compat);
    if (message.length < structure.size) return -ERRNO.EINVAL;
    const decoded = structure.decode(message.subarray(0, structure.size));
    if (decoded.type === IOTLB_TYPE.UPDATE && decoded.size === 0n) return -ERRNO.EINVAL;
    try {
      applyIotlbMessage(this.device, decoded);
      return bytes;
    } catch (error) {
      if (!(error instanceof VhostError)) throw error;
      return -ERRNO.EFAULT;
    }
  }

  #layout(version: 1 | 2, compat: boolean): MessageLayout {
    return compat && version === VERSION_1 ? I386 : NATIVE;
  }

  #next(): QueueMiss | undefined {
    for (const miss of this.iotlb.waiting) if (!this.#told.has(miss)) return miss;
    return undefined;
  }
}

/** SET_BACKEND_FEATURES: `EOPNOTSUPP` for a bit that is not offered. */
export function versionByFeatures(features: bigint): 1 | 2 {
  if ((features & ~BACKEND_FEATURE_IOTLB_MSG_V2) !== 0n) {
    throw new VhostError('EOPNOTSUPP', `backend features 0x${features.toString(16)}`);
  }
  return features === 0n ? VERSION_1 : VERSION_2;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
