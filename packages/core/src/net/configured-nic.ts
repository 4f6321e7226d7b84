import type { Observable } from 'rxjs';
import { FEATURE } from '../device/features.js';
import { checkFeaturesOffered, checkStandingStill } from '../device/state/state-checks.js';
import { VhostDevice } from '../device/vhost-device.js';
import type { NicControl } from './control/nic-control.js';
import type { NetConfigSpace } from './net-config.js';
import { readNetState, writeNetState } from './net-state.js';

/** What concerns a NIC's configuration and its state as a whole, for {@link VhostNet} to inherit. */
export abstract class ConfiguredNic extends VhostDevice {
  abstract override readonly config: NetConfigSpace;
  /** Queue pairs. */
  abstract override readonly advertisedQueues: number;
  protected abstract readonly control: NicControl;

  /** Emits when the driver should look at the configuration space again: link, announcement (T62). */
  get configChanges$(): Observable<void> {
    return this.config.changes$;
  }

  /**
   * Shows the driver that the network is there, or not: a status that it reads (STATUS). Frames pass
   * either way. The link is up in a new NIC.
   */
  setLink(up: boolean): void {
    this.config.setLink(up);
  }

  /** NET_SET_MTU: `EINVAL` for an MTU out of range or over the one that this NIC was made with. */
  setMtu(mtu: number): void {
    this.config.checkFrontEndMtu(mtu);
  }

  /**
   * What a NIC elsewhere needs to go on with this one's guest: the MAC address and MTU that it has
   * seen, and what it has said on the control queue. The rings are the front-end's to tell. Changes
   * nothing. `EPERM` without an owner, `EBUSY` while a queue runs.
   */
  saveState(): Uint8Array {
    this.#mustStandStill();
    return writeNetState({
      features: this.features & ~FEATURE.LOG_ALL,
      pairs: this.advertisedQueues,
      configSize: this.config.size,
      mac: this.config.mac,
      mtu: this.config.mtu,
      control: this.control.save(),
    });
  }

  /**
   * Goes on from a state that {@link saveState} made, here or elsewhere. Before or after features are
   * negotiated; what was said on the control queue counts when that queue starts. `EINVAL`
   * for what is no such state, and for one of a guest that this NIC cannot go on with: features that
   * it does not offer, other queue pairs, a larger MTU. `EPERM` and `EBUSY` as there. Then nothing has
   * changed.
   */
  loadState(bytes: Uint8Array): void {
    this.#mustStandStill();
    const own = { pairs: this.advertisedQueues, configSize: this.config.size };
    const { features, mac, mtu, control } = readNetState(bytes, own);
    checkFeaturesOffered(features, this.offeredFeatures);
    this.config.restore({ mac, mtu });
    this.control.load(control, features);
  }

  #mustStandStill(): void {
    this.checkOwner();
    checkStandingStill(this.vrings);
  }
}
