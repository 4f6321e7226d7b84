import { VhostError } from '@rxvhost/core';
import { closeFd, setNonBlocking, socketPair } from '@rxvhost/sys';
import { type ByteTransfer, readAll, writeAll } from '../channel/byte-transfer.js';
import { DEVICE_STATE_DIRECTION } from '../protocol/device-state.js';
import type { RequestConnection } from './request-connection.js';

/** More than any back-end's state, so that one that never ends does. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Reads the state of the back-end's device. */
export async function saveState(connection: RequestConnection): Promise<Uint8Array> {
  const fd = await openPipe(connection, DEVICE_STATE_DIRECTION.SAVE);
  const state = await whileConnected(connection, readAll(fd, MAX_BYTES));
  await connection.request('CHECK_DEVICE_STATE', undefined);
  return state;
}

/** Writes a state to the back-end, and hears what it makes of it. */
export async function loadState(connection: RequestConnection, state: Uint8Array): Promise<void> {
  const fd = await openPipe(connection, DEVICE_STATE_DIRECTION.LOAD);
  let failure: unknown;
  await whileConnected(connection, writeAll(fd, state)).catch((error: unknown) => {
    failure = error;
  });
  // The back-end knows better than the pipe what went wrong.
  await connection.request('CHECK_DEVICE_STATE', undefined);
  if (failure !== undefined) throw failure;
}

/** Our end of the pipe. A pair of sockets will do; a back-end may give one of its own instead. */
async function openPipe(connection: RequestConnection, direction: number): Promise<number> {
  const [ours, theirs] = socketPair();
  try {
    const { fd } = await connection.request('SET_DEVICE_STATE_FD', { direction, phase: 0 }, [
      theirs,
    ]);
    if (fd === undefined) return ours;
    closeFd(ours);
    setNonBlocking(fd);
    return fd;
  } catch (error) {
    closeFd(ours);
    throw error;
  } finally {
    closeFd(theirs);
  }
}

async function whileConnected<T>(
  connection: RequestConnection,
  transfer: ByteTransfer<T>,
): Promise<T> {
  const watching = connection.closed$.subscribe({
    complete: () => transfer.cancel(new VhostError('ECONNRESET', 'the back-end has gone')),
  });
  try {
    return await transfer.done;
  } finally {
    watching.unsubscribe();
  }
}
