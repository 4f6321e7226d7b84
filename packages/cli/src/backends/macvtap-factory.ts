import { openMacvtap } from '@rxvhost/backend-macvtap';
import type { BackendFactory, BackendPlan } from './backend-factory.js';
import { interfaceNameFrom } from './interface-name.js';

/** `macvtap:ifname=NAME`: a macvtap that there is. */
export class MacvtapBackendFactory implements BackendFactory {
  readonly name = 'macvtap';
  readonly form = 'macvtap:ifname=NAME';
  readonly help = 'the macvtap device NAME; give the guest its MAC address with --mac';
  readonly keys = ['ifname'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = interfaceNameFrom(this, values);
    return { description: `macvtap ${ifname}`, open: () => openMacvtap({ ifname }) };
  }
}
