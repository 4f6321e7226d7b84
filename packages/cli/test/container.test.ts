import { BACKEND_CHAIN } from '@rxvhost/core';
import t from 'tap';
import { BACKEND_FACTORY, createContainer } from '../src/container.js';

t.test('C10 an fd is offered to packet sockets, then taps, then macvtaps', async (t) => {
  const { providers } = createContainer().get(BACKEND_CHAIN);
  t.same(
    providers.map(({ name }) => name),
    ['raw', 'tap', 'macvtap'],
  );
});

t.test('every kind of backend has a name of its own', async (t) => {
  const names = createContainer()
    .getAll(BACKEND_FACTORY)
    .map(({ name }) => name);
  t.equal(new Set(names).size, names.length);
});
