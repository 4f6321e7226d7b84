import { readdirSync } from 'node:fs';
import { openRaw } from '@rxvhost/backend-raw';
import { backendConformance, SocketPeer } from '@rxvhost/core/testing';
import { privateMemory } from '@rxvhost/sys';
import { ip, testInPrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';
import { openMacvtap } from '../src/index.js';

if (testInPrivateNetwork(t, import.meta.url)) {
  ip('link add lower type veth peer name far');
  for (const end of ['lower', 'far']) ip(`link set ${end} up`);
  // In this mode it takes frames for every address.
  ip('link add link lower name macvtap0 type macvtap mode passthru');
  ip('link set macvtap0 up');
  for (const name of ['lower', 'far', 'macvtap0']) {
    while (!/qdisc (?!noop ).* state UP/.test(ip(`link show dev ${name}`)));
  }
  const open = () => {
    const far = openRaw({ ifname: 'far' });
    const peer = new SocketPeer(far, { memory: privateMemory });
    const release = () => {
      peer.release();
      far.close();
    };
    return { backend: openMacvtap({ ifname: 'macvtap0' }), peer, release };
  };
  t.test('a macvtap conforms', (t) =>
    backendConformance(t, open, {
      fullAfter: false,
      memory: privateMemory,
      openFiles: () => readdirSync('/proc/self/fd').length,
    }),
  );
}
