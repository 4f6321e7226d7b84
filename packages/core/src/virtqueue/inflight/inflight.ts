/**
 * A back-end may die with chains in its hands: taken from the available ring, not yet given back.
 * With INFLIGHT_SHMFD it notes which ones in a piece of shared memory for each queue, which the
 * front-end keeps and hands to the back-end that comes next (vhost-user, "Inflight I/O tracking").
 *
 * The note must be right whenever the process ends, between any two stores. Publishing is one store
 * to the ring, which nothing else can happen together with; so a completion is noted as a list first,
 * then published, then struck out, and whether the publication came about tells the next back-end
 * which of the two it finds.
 *
 * Every device here gives chains back in the order in which it took them. What is in flight is thus
 * the oldest of what is available, and to go on means to take it again from the ring.
 */
export interface Inflight {
  /** Chains were taken, from one place in the ring to another: the available halves of bases. */
  taken(heads: Uint32Array, count: number, from: number, to: number): void;
  /** The `count` chains taken last are available again. */
  putBack(count: number): void;
  /** The `count` oldest chains are about to be published as used. */
  completing(heads: Uint32Array, first: number, count: number): void;
  /** They have been, and `used` is the index or position that the next publication begins at. */
  completed(heads: Uint32Array, first: number, count: number, used: number): void;
}

/** The only version there is; 0 is memory that nobody has written yet. */
export const INFLIGHT_VERSION = 1;
