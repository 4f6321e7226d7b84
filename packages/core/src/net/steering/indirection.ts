import type { RssConfig } from '../control/rss-commands.js';
import { FlowHash, HASH_REPORT } from './flow-hash.js';
import { Toeplitz } from './toeplitz.js';

/** Chooses the queue pair of each frame, as the driver's table says (virtio 1.2, 5.1.6.5.7.4). */
export class Indirection {
  readonly flow: FlowHash;
  readonly #config: RssConfig;

  constructor(config: RssConfig) {
    this.#config = config;
    this.flow = new FlowHash(new Toeplitz(config.key), config.types);
  }

  /** The pair that the frame at `at … end - 1` goes to; `flow` has its hash afterwards. */
  pairOf(view: DataView, at: number, end: number): number {
    this.flow.hash(view, at, end);
    const { indirection, unclassified } = this.#config;
    if (this.flow.report === HASH_REPORT.NONE) return unclassified;
    return indirection[this.flow.value & (indirection.length - 1)] as number;
  }
}
