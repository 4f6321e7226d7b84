import type { Subscription } from 'rxjs';
import {
  type Acceptor,
  type ConnectOptions,
  type EndpointOptions,
  HOST_CID,
  type LinkOptions,
  linkEndpoints,
  type Scheduler,
  VsockEndpoint,
  VsockFeature,
} from '../../src/index.js';
import { Recorder } from './recorder.js';

export const GUEST_CID = 42;

/** Timers that run when a test says so. */
export class ManualScheduler implements Scheduler {
  #now = 0;
  readonly #timers = new Set<{ at: number; task: () => void }>();

  get pending(): number {
    return this.#timers.size;
  }

  after(milliseconds: number, task: () => void): () => void {
    const timer = { at: this.#now + milliseconds, task };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds;
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#now || !this.#timers.delete(timer)) continue;
      timer.task();
    }
  }
}

/** Turns that run when a test says so, until nothing is left. */
export class ManualTurns {
  readonly #turns: (() => void)[] = [];

  schedule(turn: () => void): void {
    this.#turns.push(turn);
  }

  /** Runs turns until none is left, or `most` have run; returns how many. */
  run(most = 10_000_000): number {
    let count = 0;
    for (; count < most && this.#turns.length > 0; count += 1) this.#turns.shift()?.();
    return count;
  }
}

/** A host's and a guest's endpoint, linked. Nothing moves but in `settle`. */
export class Pair {
  readonly time = new ManualScheduler();
  readonly turns = new ManualTurns();
  readonly host: VsockEndpoint;
  readonly guest: VsockEndpoint;
  readonly link: Subscription;

  constructor(options: Partial<EndpointOptions> = {}, link: LinkOptions = {}) {
    const common = { scheduler: this.time, ...options };
    this.host = new VsockEndpoint({ ...common, cid: HOST_CID, peerCid: GUEST_CID });
    this.guest = new VsockEndpoint({ ...common, cid: GUEST_CID });
    for (const side of [this.host, this.guest]) side.setFeatures(VsockFeature.SEQPACKET);
    this.link = linkEndpoints(this.host, this.guest, { turns: this.turns, ...link });
  }

  settle(): void {
    this.turns.run();
  }

  /** Opens a connection from the guest to the host's port 80, with a recorder at each end. */
  connect(options: Partial<ConnectOptions> = {}): { here: Recorder; there: Recorder } {
    const here = new Recorder();
    const there = new Recorder();
    const stop = this.host.listen(80, acceptWith(there), options.type);
    here.connection = this.guest.connect({ cid: HOST_CID, port: 80, ...options }, here);
    this.settle();
    stop();
    return { here, there };
  }
}

/** Accepts one connection after the other with the same recorder. */
export function acceptWith(recorder: Recorder): Acceptor {
  return {
    request(request) {
      recorder.connection = request.accept(recorder);
    },
  };
}

/** The connection at a recorder's end. */
export function connectionOf(recorder: Recorder) {
  const { connection } = recorder;
  if (connection === undefined) throw new Error('there is no connection');
  return connection;
}
