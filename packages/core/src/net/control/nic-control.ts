import type { PacketSocket } from '../../backend/packet-socket.js';
import { FEATURE } from '../../device/features.js';
import type { TurnScheduler } from '../../events/turn-scheduler.js';
import type { NetConfigSpace } from '../net-config.js';
import { NET_FEATURE } from '../net-features.js';
import { netHeaderLength } from '../net-header.js';
import type { DropCounters } from '../net-statistics.js';
import { effectiveOffloads, GUEST_OFFLOADS } from '../offload/offload-features.js';
import type { SocketLayer } from '../offload/socket-layer.js';
import { ReceiveSteering } from '../steering/receive-steering.js';
import type { ControlState } from './control-state.js';
import type { ControlledNic } from './controlled-nic.js';
import { ReceiveFilter } from './receive-filter.js';
import type { HashConfig, RssConfig } from './rss-commands.js';

/** A state that waits for the control queue. */
interface LoadedState {
  readonly state: ControlState;
  readonly features: bigint;
}

/**
 * What a driver has said on the control queue, and what that means for the receive queues. It counts
 * from the control queue's start on: a VMM may keep that queue to itself, and then the NIC must do
 * as without one, whatever was negotiated.
 */
export class NicControl implements ControlledNic {
  filter = new ReceiveFilter();

  #features = 0n;
  #runs = false;
  #activePairs = 1;
  #guestOffloads = GUEST_OFFLOADS;
  #steering: ReceiveSteering | undefined;
  #steered = false;
  #filtered = false;
  #rss: RssConfig | undefined;
  #hash: HashConfig | undefined;
  #loaded: LoadedState | undefined;

  /**
   * @param pairs - queue pairs of the NIC
   * @param changed - the receive queues are to be attached anew. Called for as few changes as
   * can be, since a driver may ask for changes all day.
   */
  constructor(
    readonly pairs: number,
    private readonly config: NetConfigSpace,
    private readonly turns: TurnScheduler,
    private readonly changed: () => void,
  ) {}

  get features(): bigint {
    return this.#features;
  }

  /** The negotiated features without the offloads that the driver has switched off. */
  get usedFeatures(): bigint {
    return this.#features & ~(GUEST_OFFLOADS & ~this.#guestOffloads);
  }

  /** Forgets all that was said: other features were negotiated, or the device was reset. */
  reset(features: bigint): void {
    this.#features = features;
    this.#runs = false;
    this.#activePairs = 1;
    this.#guestOffloads = GUEST_OFFLOADS;
    this.#steered = false;
    this.#filtered = false;
    this.#rss = undefined;
    this.#hash = undefined;
    if (this.#loaded !== undefined && !isSame(this.#loaded.features, features)) {
      this.#loaded = undefined;
    }
    this.filter = new ReceiveFilter();
    const hashed = (features & NET_FEATURE.HASH_REPORT) !== 0n;
    this.#steering = hashed ? this.#newSteering() : undefined;
    this.config.setAnnounce(false);
  }

  /** The control queue runs from now on. */
  start(): void {
    if (this.#runs) return;
    this.#runs = true;
    if (this.#loaded !== undefined) this.#restore(this.#loaded.state);
    else this.#begin();
    this.#loaded = undefined;
    this.#filtered = this.filter.active;
    this.changed();
  }

  #begin(): void {
    if ((this.#features & NET_FEATURE.MAC) !== 0n) this.filter.setOwnAddress(this.config.mac);
    if ((this.#features & NET_FEATURE.CTRL_VLAN) !== 0n) this.filter.filterVlans();
  }

  /** What was said so far. */
  save(): ControlState {
    return {
      runs: this.#runs,
      activePairs: this.#activePairs,
      guestOffloads: this.#guestOffloads,
      announce: this.config.announces,
      filter: this.filter.save(),
      rss: this.#steered ? this.#rss : undefined,
      hash: this.#hash,
    };
  }

  /**
   * The driver goes on here, with these features, from where another NIC was with it. In effect
   * when the control queue starts, unless by then other features have been negotiated: a VMM tells
   * the features of a guest that it restores after its state.
   */
  load(state: ControlState, features: bigint): void {
    this.#loaded = state.runs ? { state, features } : undefined;
  }

  #restore({ activePairs, guestOffloads, announce, filter, rss, hash }: ControlState): void {
    this.filter.restore(filter);
    this.#activePairs = activePairs;
    this.#guestOffloads = guestOffloads;
    if (announce) this.config.setAnnounce(true);
    if (hash !== undefined) this.setHash(hash);
    if (rss !== undefined) {
      this.#steering ??= this.#newSteering();
      this.#steering.steer(rss);
      this.#rss = rss;
      this.#steered = true;
    }
  }

  /** Whether the driver takes frames from pair `pair`'s receive queue. */
  uses(pair: number): boolean {
    const chosen = this.#runs && (this.#features & NET_FEATURE.MQ) !== 0n && !this.#steered;
    return !chosen || pair < this.#activePairs;
  }

  /** The socket that steers, over what pair `pair` is attached to; undefined where nothing does. */
  steer(
    pair: number,
    inner: PacketSocket,
    innerHeader: number,
    drops: DropCounters,
  ): SocketLayer | undefined {
    return this.#steering?.socket(pair, inner, innerHeader, drops);
  }

  /** Asks the driver to tell the network where it is. False when it does not know how. */
  announce(): boolean {
    const knows = (this.#features & NET_FEATURE.GUEST_ANNOUNCE) !== 0n;
    if (!knows || !this.#runs) return false;
    this.config.setAnnounce(true);
    return true;
  }

  filterChanged(): void {
    if (this.filter.active === this.#filtered) return;
    this.#filtered = this.filter.active;
    this.changed();
  }

  setMac(mac: Uint8Array): boolean {
    if (!this.config.setMac(mac)) return false;
    this.filter.setOwnAddress(mac);
    return true;
  }

  setActivePairs(pairs: number): void {
    const same = pairs === this.#activePairs && !this.#steered;
    this.#activePairs = pairs;
    this.#steered = false;
    this.#rss = undefined;
    this.#steering?.steer(undefined);
    if (!same) this.changed();
  }

  setRss(config: RssConfig): void {
    const same = this.#steered;
    this.#steering ??= this.#newSteering();
    this.#steering.steer(config);
    this.#rss = config;
    this.#steered = true;
    if (!same) this.changed();
  }

  setHash(config: HashConfig): void {
    this.#hash = config;
    this.#steering?.report(config);
  }

  setGuestOffloads(offloads: bigint): boolean {
    const known = effectiveOffloads(this.#features) & GUEST_OFFLOADS;
    if ((offloads & ~known) !== 0n) return false;
    const same = offloads === (this.#guestOffloads & known);
    this.#guestOffloads = offloads;
    if (!same) this.changed();
    return true;
  }

  announced(): void {
    this.config.setAnnounce(false);
  }

  #newSteering(): ReceiveSteering {
    return new ReceiveSteering(this.pairs, netHeaderLength(this.#features), this.turns);
  }
}

/** Logging is switched while a guest runs, and says nothing of its driver. */
function isSame(one: bigint, other: bigint): boolean {
  return ((one ^ other) & ~FEATURE.LOG_ALL) === 0n;
}
