import t from 'tap';
import { interfaceNameFault, openTap } from '../src/index.js';

t.test('an interface name is checked by the kernel’s rules', async (t) => {
  for (const name of ['tap0', 'a', 'vm1.net-0_x', 'x'.repeat(15)]) {
    t.equal(interfaceNameFault(name), undefined, name);
  }
  for (const name of ['', '.', '..', 'a/b', 'a b', 'a:b', 'tap%d', 'x'.repeat(16), 'ü'.repeat(8)]) {
    t.type(interfaceNameFault(name), 'string', name);
    t.throws(() => openTap({ ifname: name }), { code: 'EINVAL' }, name);
  }
});
