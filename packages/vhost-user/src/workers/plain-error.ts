import { type ErrnoName, VhostError } from '@rxvhost/core';

/** Causes beneath an error that travel with it. */
const DEPTH = 4;

/** An error as it travels between threads: `postMessage` would drop its class and its code. */
export interface PlainError {
  readonly message: string;
  /** Of a `VhostError`. */
  readonly code?: ErrnoName;
  /** Of any other: its class, by which the main thread may tell it. */
  readonly name?: string;
  readonly stack?: string;
  readonly cause?: PlainError;
}

/** Any thrown value, ready to be posted. */
export function toPlainError(thrown: unknown, depth = DEPTH): PlainError {
  if (!(thrown instanceof Error)) return { message: String(thrown) };
  const { name, message, stack, cause } = thrown;
  return {
    ...(thrown instanceof VhostError
      ? { code: thrown.code, message: withoutCode(thrown) }
      : { name, message }),
    ...(stack !== undefined && { stack }),
    ...(cause !== undefined && depth > 0 && { cause: toPlainError(cause, depth - 1) }),
  };
}

/** The error that was posted, with the other thread's stack. */
export function fromPlainError(plain: PlainError): Error {
  const { code, name, message, stack } = plain;
  const cause = plain.cause && { cause: fromPlainError(plain.cause) };
  const error =
    code === undefined ? new Error(message, cause) : new VhostError(code, message, cause);
  if (stack !== undefined) error.stack = stack;
  if (name !== undefined) Object.assign(error, { name });
  return error;
}

/** As {@link fromPlainError}; `EIO` for an error of another kind. */
export function vhostErrorFrom(plain: PlainError): VhostError {
  const error = fromPlainError(plain);
  return error instanceof VhostError
    ? error
    : new VhostError('EIO', error.message, { cause: error });
}

/** A `VhostError` puts its code behind its message; it will do so again. */
function withoutCode({ message, code }: VhostError): string {
  const suffix = ` (${code})`;
  return message.endsWith(suffix) ? message.slice(0, -suffix.length) : message;
}
