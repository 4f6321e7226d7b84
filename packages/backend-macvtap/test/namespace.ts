import { insidePrivateNetwork, missingForPrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';

const { RXVHOST_REQUIRE_PEERS } = process.env;

/** As `insidePrivateNetwork`, or a skipped test where that cannot be had. */
export function insideNamespace(url: string): boolean {
  const reason = missingForPrivateNetwork();
  if (reason === undefined) return insidePrivateNetwork(url);
  if (RXVHOST_REQUIRE_PEERS === '1') t.fail(reason);
  else t.pass('interfaces', { skip: reason });
  return false;
}
