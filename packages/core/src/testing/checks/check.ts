import type { ConformanceOptions } from '../conformance-options.js';
import type { Exchange } from '../exchange.js';

/** One thing that a backend must do, shown on a backend of its own. Throws when it does not. */
export interface Check {
  readonly name: string;
  /** Left out for what every backend must do. */
  applies?(options: ConformanceOptions): boolean;
  run(exchange: Exchange): Promise<void>;
}

/** For checks that need a peer. */
export const withPeer = ({ sink = false }: ConformanceOptions): boolean => !sink;
