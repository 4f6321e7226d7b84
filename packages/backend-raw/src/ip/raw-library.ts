import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { VhostError } from '@rxvhost/core';

/** A socket of the `raw-socket` library, as far as it is used here. */
export interface RawLibrarySocket {
  /** The buffer is used again for the next message. */
  on(event: 'message', listener: (message: Buffer, source: string) => void): this;
  on(event: 'error', listener: (error: Error) => void): this;
  on(event: 'close', listener: () => void): this;
  /** Keeps `buffer` until `after` is called; `before` runs right before the system call. */
  send(
    buffer: Buffer,
    offset: number,
    length: number,
    address: string,
    before: () => void,
    after: (error: Error | null, bytes: number) => void,
  ): this;
  setOption(level: number, option: number, value: number): void;
  pauseRecv(): this;
  resumeRecv(): this;
  close(): this;
}

/** The `raw-socket` library: raw IP sockets on libuv's default loop. */
export interface RawLibrary {
  readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
  createSocket(options: {
    readonly protocol: number;
    readonly addressFamily: number;
    readonly bufferSize: number;
  }): RawLibrarySocket;
}

/**
 * Loads the library when it is first needed: it is an optional dependency.
 * Throws `EOPNOTSUPP` in a worker thread, where the library would end the process at the first packet,
 * and `ENOSYS` where it is not installed or not built.
 */
export function loadRawLibrary(): RawLibrary {
  if (!isMainThread) {
    throw new VhostError(
      'EOPNOTSUPP',
      'IP sockets work on the main thread only, since the raw-socket library uses its event loop',
    );
  }
  try {
    return createRequire(import.meta.url)('raw-socket');
  } catch (cause) {
    throw new VhostError(
      'ENOSYS',
      'IP sockets need the raw-socket library: run npm install raw-socket@1.8.1 and let npm run its ' +
        'install script (it needs a C++ compiler)',
      { cause },
    );
  }
}
