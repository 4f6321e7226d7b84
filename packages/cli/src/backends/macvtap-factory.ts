import { openMacvtap } from '@rxvhost/backend-macvtap';
import { interfaceNameFault } from '@rxvhost/sys';
import { UsageError } from '../usage-error.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';

/** `macvtap:ifname=NAME`: a macvtap that there is. */
export class MacvtapBackendFactory implements BackendFactory {
  readonly name = 'macvtap';
  readonly form = 'macvtap:ifname=NAME';
  readonly help = 'the macvtap device NAME; give the guest its MAC address with --mac';
  readonly keys = ['ifname'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = values.get('ifname');
    if (ifname === undefined)
      throw new UsageError(`backend macvtap: which one? Write ${this.form}`);
    const fault = interfaceNameFault(ifname);
    if (fault !== undefined) throw new UsageError(`backend macvtap: ${fault}`);
    return { description: `macvtap ${ifname}`, open: () => openMacvtap({ ifname }) };
  }
}
