import { openTapQueues } from '@rxvhost/backend-tap';
import type { BackendFactory, BackendPlan } from './backend-factory.js';
import { interfaceNameFrom } from './interface-name.js';
import { describeQueues, parseQueues } from './queues.js';

/** `tap:ifname=NAME,queues=N`: a tap, made if there is none of that name. */
export class TapBackendFactory implements BackendFactory {
  readonly name = 'tap';
  readonly form = 'tap:ifname=NAME[,queues=N]';
  readonly help = 'the tap device NAME; made, and gone afterwards, if there is none yet';
  readonly keys = ['ifname', 'queues'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = interfaceNameFrom(this, values);
    const queues = parseQueues(this.name, values);
    return {
      description: `tap ${ifname}${describeQueues(queues)}`,
      open: (mtu) => openTapQueues({ ifname, queues, ...(mtu === undefined ? {} : { mtu }) }),
    };
  }
}
