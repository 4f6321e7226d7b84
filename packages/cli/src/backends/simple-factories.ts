import {
  type BackendChain,
  type FrameCopier,
  loopback,
  NullSocket,
  type PacketSocket,
  VhostError,
} from '@rxvhost/core';
import { EnvironmentError, UsageError } from '../usage-error.js';
import { parseFd } from '../values.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';
import { describeQueues, parseQueues } from './queues.js';

/** `null`: takes every frame, gives none. */
export class NullBackendFactory implements BackendFactory {
  readonly name = 'null';
  readonly form = 'null[:queues=N]';
  readonly help = 'takes every frame, gives none';
  readonly keys = ['queues'];

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    return planEach(this.name, values, () => new NullSocket());
  }
}

/** `loopback`: gives every frame back to the guest that sent it. */
export class LoopbackBackendFactory implements BackendFactory {
  readonly name = 'loopback';
  readonly form = 'loopback[:queues=N]';
  readonly help = 'gives every frame back to the guest that sent it, on the same queue pair';
  readonly keys = ['queues'];

  constructor(private readonly copier: FrameCopier) {}

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    return planEach(this.name, values, () => loopback({ copier: this.copier }));
  }
}

/** A socket of its own for each queue pair. */
function planEach(
  name: string,
  values: ReadonlyMap<string, string>,
  open: () => PacketSocket,
): BackendPlan {
  const queues = parseQueues(name, values);
  return {
    description: `${name}${describeQueues(queues)}`,
    open: () => Array.from({ length: queues }, open),
  };
}

/** `fd:N`: an open file that one of the backend providers takes. */
export class FdBackendFactory implements BackendFactory {
  readonly name = 'fd';
  readonly form = 'fd:N';
  readonly help = 'the inherited, open file descriptor N, for example of a tap';
  readonly keys = ['number'];
  readonly bareKey = 'number';

  constructor(private readonly chain: BackendChain) {}

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const text = values.get('number');
    if (text === undefined) throw new UsageError(`backend fd: which one? Write ${this.form}`);
    const fd = parseFd(`fd:${text}`, text);
    return { description: `fd ${fd}`, open: () => this.#open(fd) };
  }

  #open(fd: number): PacketSocket {
    try {
      return this.chain.open(fd);
    } catch (error) {
      if (!(error instanceof VhostError)) throw error;
      const { cause } = error;
      const reasons = cause instanceof AggregateError ? cause.errors : [];
      throw new EnvironmentError(
        `backend fd:${fd} cannot be used: ${reasons.map(({ message }) => message).join('; ')}. ` +
          `Let the parent process leave a tap open as descriptor ${fd}`,
        { cause },
      );
    }
  }
}
