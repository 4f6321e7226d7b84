import { interfaceNameFault, openTap } from '@rxvhost/backend-tap';
import { UsageError } from '../usage-error.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';

/** `tap:ifname=NAME`: a tap, made if there is none of that name. */
export class TapBackendFactory implements BackendFactory {
  readonly name = 'tap';
  readonly form = 'tap:ifname=NAME';
  readonly help = 'the tap device NAME; made, and gone afterwards, if there is none yet';
  readonly keys = ['ifname'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = values.get('ifname');
    if (ifname === undefined) throw new UsageError(`backend tap: which one? Write ${this.form}`);
    const fault = interfaceNameFault(ifname);
    if (fault !== undefined) throw new UsageError(`backend tap: ${fault}`);
    return {
      description: `tap ${ifname}`,
      open: (mtu) => openTap(mtu === undefined ? { ifname } : { ifname, mtu }),
    };
  }
}
