import type { ReceiveFilter } from './receive-filter.js';
import type { HashConfig, RssConfig } from './rss-commands.js';

/** What the commands of a control queue act on: the NIC. */
export interface ControlledNic {
  /** Negotiated features: each command needs one. */
  readonly features: bigint;
  /** Queue pairs that there are. */
  readonly pairs: number;
  readonly filter: ReceiveFilter;
  /** The filter has changed. */
  filterChanged(): void;
  /** 6 bytes; the configuration space shows them too. False for a multicast address. */
  setMac(mac: Uint8Array): boolean;
  /** Uses pairs 0 … `pairs` − 1, and steers by itself. */
  setActivePairs(pairs: number): void;
  setRss(config: RssConfig): void;
  setHash(config: HashConfig): void;
  /** Gives the driver no other unfinished frames from now on. False for a bit that was not negotiated. */
  setGuestOffloads(offloads: bigint): boolean;
  /** The driver has told the network where it is. */
  announced(): void;
}
