import { interfaceNameFault, openTapQueues } from '@rxvhost/backend-tap';
import { UsageError } from '../usage-error.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';
import { describeQueues, parseQueues } from './queues.js';

/** `tap:ifname=NAME,queues=N`: a tap, made if there is none of that name. */
export class TapBackendFactory implements BackendFactory {
  readonly name = 'tap';
  readonly form = 'tap:ifname=NAME[,queues=N]';
  readonly help = 'the tap device NAME; made, and gone afterwards, if there is none yet';
  readonly keys = ['ifname', 'queues'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = values.get('ifname');
    if (ifname === undefined) throw new UsageError(`backend tap: which one? Write ${this.form}`);
    const fault = interfaceNameFault(ifname);
    if (fault !== undefined) throw new UsageError(`backend tap: ${fault}`);
    const queues = parseQueues(this.name, values);
    return {
      description: `tap ${ifname}${describeQueues(queues)}`,
      open: (mtu) => openTapQueues({ ifname, queues, ...(mtu === undefined ? {} : { mtu }) }),
    };
  }
}
