import { VhostError } from '../errors/vhost-error.js';

/** Why a queue or a chain cannot be used: the wording of each fault, in one place. */

export const invalid = (what: string): VhostError =>
  new VhostError('EINVAL', `descriptor chain: ${what}`);
export const tooManySegments = (): VhostError =>
  new VhostError('ENOBUFS', 'descriptor chain: more segments than one chain may have');
export const tooLargeTable = (entries: number): VhostError =>
  new VhostError('E2BIG', `descriptor chain: an indirect table of ${entries} entries`);

export const tooFarAhead = (pending: number, size: number): VhostError =>
  new VhostError('EINVAL', `the available index is ${pending} ahead in a queue of ${size}`);
export const unknownHead = (head: number, size: number): VhostError =>
  new VhostError('EINVAL', `available head ${head} in a queue of ${size}`);

export const unknownId = (id: number, size: number): VhostError =>
  new VhostError('EINVAL', `buffer id ${id} in a queue of ${size}`);
export const usedTwice = (id: number): VhostError =>
  new VhostError('EINVAL', `buffer id ${id} is available while the device still has it`);
export const tooManyOutstanding = (size: number): VhostError =>
  new VhostError('EINVAL', `more descriptors are available than a ring of ${size} has`);

/** A whole chain that is of no use on its queue (seeds B9, C3). */
export function wrongForm(
  direction: number,
  wrong: boolean,
  length: number,
  head: number,
): VhostError {
  const what = wrong
    ? `a ${direction === 0 ? 'writable' : 'readable'} descriptor`
    : `only ${length} bytes, no more than its header`;
  const where = direction === 0 ? 'transmit' : 'receive';
  return new VhostError('EINVAL', `${where} chain at head ${head}: ${what}`);
}
