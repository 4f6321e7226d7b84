import { insidePrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';

const { RXVHOST_REQUIRE_PEERS } = process.env;

/** As `insidePrivateNetwork`, or a skipped test where that cannot be had. */
export function insideNamespace(url: string): boolean {
  if (process.geteuid?.() === 0) return insidePrivateNetwork(url);
  if (RXVHOST_REQUIRE_PEERS === '1') t.fail('needs root');
  else t.pass('interfaces', { skip: 'needs root' });
  return false;
}
