import { readdirSync } from 'node:fs';
import { backendConformance, SocketPeer } from '@rxvhost/core/testing';
import { privateMemory } from '@rxvhost/sys';
import { ip, testInPrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';
import { openRaw } from '../src/index.js';

if (testInPrivateNetwork(t, import.meta.url)) {
  ip('link add near type veth peer name far');
  for (const end of ['near', 'far']) ip(`link set ${end} up`);
  while (!/qdisc (?!noop ).* state UP/.test(ip('link show dev near')));
  while (!/qdisc (?!noop ).* state UP/.test(ip('link show dev far')));

  for (const vnetHeader of [true, false]) {
    const open = () => {
      const far = openRaw({ ifname: 'far', vnetHeader });
      const peer = new SocketPeer(far, { memory: privateMemory });
      const release = () => {
        peer.release();
        far.close();
      };
      return { backend: openRaw({ ifname: 'near', vnetHeader }), peer, release };
    };
    t.test(`a packet socket conforms, vnet header ${vnetHeader ? 'on' : 'off'}`, (t) =>
      backendConformance(t, open, {
        // A veth takes what it is sent at once: whoever does not read in time loses frames.
        fullAfter: false,
        memory: privateMemory,
        openFiles: () => readdirSync('/proc/self/fd').length,
      }),
    );
  }
}
