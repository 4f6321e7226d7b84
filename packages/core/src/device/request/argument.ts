import { VhostError } from '../../errors/vhost-error.js';
import type { Codec } from '../../layout/struct-layout.js';

/** A structure of fixed size in a request's argument. */
export interface Structure<T> extends Codec<T> {
  /** Bytes. */
  readonly size: number;
}

/**
 * A request's argument: the bytes that the kernel would find behind the caller's pointer. They are
 * copied when the request comes, so that a caller may use them again at once; a reply goes to the
 * caller's own bytes. What should be there and is not is `EFAULT`.
 */
export class Argument {
  readonly #given: Uint8Array | undefined;

  /** @param target - the caller's bytes; undefined for a null pointer */
  constructor(private readonly target: Uint8Array | undefined) {
    this.#given = target?.slice();
  }

  /** The structure at byte `at`. */
  read<T>(structure: Structure<T>, at = 0): T {
    return structure.decode(part(this.#given, structure, at));
  }

  /** `EFAULT` unless the caller's bytes have room for the structure. */
  checkRoom(structure: Structure<unknown>): void {
    part(this.target, structure, 0);
  }

  /** Writes the structure to the beginning of the caller's bytes. */
  write<T>(structure: Structure<T>, value: T): void {
    part(this.target, structure, 0).set(structure.encode(value));
  }
}

/** An `EFAULT` that says why. */
export function fault(why: string): VhostError {
  return new VhostError('EFAULT', `request: ${why}`);
}

function part(bytes: Uint8Array | undefined, structure: Structure<unknown>, at: number) {
  if (bytes === undefined) throw fault(`no argument where ${structure.name} should be`);
  const end = at + structure.size;
  if (bytes.length < end) {
    throw fault(`${bytes.length} bytes of argument, ${structure.name} ends at ${end}`);
  }
  return bytes.subarray(at, end);
}
