import { MAX_QUEUE_PAIRS } from '@rxvhost/core';
import { UsageError } from '../usage-error.js';

/** `queues=N` of a backend: how many queue pairs the NIC has; 1 when it is left out. */
export function parseQueues(backend: string, values: ReadonlyMap<string, string>): number {
  const text = values.get('queues') ?? '1';
  const queues = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (queues < 1 || queues > MAX_QUEUE_PAIRS) {
    throw new UsageError(
      `backend ${backend}: queues=${text} is not a number from 1 to ${MAX_QUEUE_PAIRS}`,
    );
  }
  return queues;
}

/** For the log: nothing for one queue. */
export function describeQueues(queues: number): string {
  return queues === 1 ? '' : `, ${queues} queues`;
}
