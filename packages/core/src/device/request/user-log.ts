import { DirtyLog } from '../../memory/dirty-log.js';
import type { UserMemory } from '../../memory/user-memory.js';
import { fault } from './argument.js';

/**
 * The dirty log at a user address: it goes on to the end of what is registered there. `EFAULT` where
 * nothing is.
 */
export function userLog(memory: UserMemory, address: number): DirtyLog {
  const found = memory.find(address);
  if (found === undefined) throw fault(`no memory is registered at 0x${address.toString(16)}`);
  return new DirtyLog(found.mapping, found.offset);
}
