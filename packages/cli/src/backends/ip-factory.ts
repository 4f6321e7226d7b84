import { IP_PROTOCOLS, type IpProtocolName, openIp } from '@rxvhost/backend-raw';
import { UsageError } from '../usage-error.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';

const LARGEST_PROTOCOL = 254;

/** `ip:protocol=NAME`: raw IP sockets for some protocols. */
export class IpBackendFactory implements BackendFactory {
  readonly name = 'ip';
  readonly form = 'ip:protocol=NAME[+NAME]';
  readonly help = 'packets of these IP protocols (icmp, gre, 89, …), behind a gateway made up here';
  readonly keys = ['protocol'];
  readonly bareKey = 'protocol';

  plan(values: ReadonlyMap<string, string>): BackendPlan {
    const text = values.get('protocol');
    if (text === undefined) throw new UsageError(`backend ip: which one? Write ${this.form}`);
    const protocols = text.split('+').map(parseProtocol);
    return {
      description: `IP protocols ${text}`,
      // The raw-socket library uses the main thread's event loop.
      mainThreadOnly: true,
      open: () => openIp({ protocols }),
    };
  }
}

function parseProtocol(text: string): IpProtocolName | number {
  if (isName(text)) return text;
  const protocol = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (protocol >= 1 && protocol <= LARGEST_PROTOCOL) return protocol;
  const names = Object.keys(IP_PROTOCOLS).join(', ');
  throw new UsageError(
    `backend ip: '${text}' is no IP protocol: use ${names}, or a number from 1 to ${LARGEST_PROTOCOL}`,
  );
}

function isName(text: string): text is IpProtocolName {
  return Object.hasOwn(IP_PROTOCOLS, text);
}
