import { UnixListener } from '@rxvhost/sys';

/** Removes what a listener that is gone has left at its path, unless somebody listens there by now. */
export function removeSocketFile(path: string): void {
  try {
    // Takes the place of a dead server's file, and removes its own.
    new UnixListener(path).close();
  } catch {
    // A live server, or something that is no socket: not ours to remove.
  }
}
