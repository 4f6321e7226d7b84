import { openRaw } from '@rxvhost/backend-raw';
import { interfaceNameFault } from '@rxvhost/sys';
import { UsageError } from '../usage-error.js';
import { parseMac } from '../values.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';

/** `raw:ifname=NAME`: a raw packet socket on an interface. */
export class RawBackendFactory implements BackendFactory {
  readonly name = 'raw';
  readonly form = 'raw:ifname=NAME[,mac=ADDRESS]';
  readonly help = 'the interface NAME, as one more station on its wire; only frames for ADDRESS';
  readonly keys = ['ifname', 'mac'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = values.get('ifname');
    if (ifname === undefined) throw new UsageError(`backend raw: which one? Write ${this.form}`);
    const fault = interfaceNameFault(ifname);
    if (fault !== undefined) throw new UsageError(`backend raw: ${fault}`);
    const mac = values.get('mac');
    const filter = mac === undefined ? {} : { address: parseMac(mac) };
    return { description: `interface ${ifname}`, open: () => openRaw({ ifname, ...filter }) };
  }
}
