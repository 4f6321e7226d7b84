import { interfaceNameFault } from '@rxvhost/sys';
import { UsageError } from '../usage-error.js';

/** The `ifname` of a backend that cannot do without. Throws a {@link UsageError} for a wrong one, or none. */
export function interfaceNameFrom(
  { name, form }: { readonly name: string; readonly form: string },
  values: ReadonlyMap<string, string>,
): string {
  const ifname = values.get('ifname');
  if (ifname === undefined) throw new UsageError(`backend ${name}: which one? Write ${form}`);
  const fault = interfaceNameFault(ifname);
  if (fault !== undefined) throw new UsageError(`backend ${name}: ${fault}`);
  return ifname;
}
