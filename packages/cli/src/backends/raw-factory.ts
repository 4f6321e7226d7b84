import { openRaw } from '@rxvhost/backend-raw';
import { parseMac } from '../values.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';
import { interfaceNameFrom } from './interface-name.js';

/** `raw:ifname=NAME`: a raw packet socket on an interface. */
export class RawBackendFactory implements BackendFactory {
  readonly name = 'raw';
  readonly form = 'raw:ifname=NAME[,mac=ADDRESS]';
  readonly help = 'the interface NAME, as one more station on its wire; only frames for ADDRESS';
  readonly keys = ['ifname', 'mac'];
  readonly bareKey = 'ifname';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const ifname = interfaceNameFrom(this, values);
    const mac = values.get('mac');
    const filter = mac === undefined ? {} : { address: parseMac(mac) };
    return { description: `interface ${ifname}`, open: () => openRaw({ ifname, ...filter }) };
  }
}
