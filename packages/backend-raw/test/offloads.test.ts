import { NET_FEATURE } from '@rxvhost/core';
import t from 'tap';
import { supportedOffloads } from '../src/raw-offloads.js';

t.test('T54 UDP segmentation is left to kernels that know it', async (t) => {
  const uso = NET_FEATURE.HOST_USO | NET_FEATURE.GUEST_USO4 | NET_FEATURE.GUEST_USO6;
  for (const kernel of ['6.2.0', '6.18.44-fc-v657', '7.0-rc1']) {
    t.equal(supportedOffloads(kernel) & uso, uso, kernel);
  }
  for (const kernel of ['6.1.0-37-amd64', '5.10.0', '4.20', '']) {
    t.equal(supportedOffloads(kernel) & uso, 0n, kernel);
  }
});

t.test('T54 fragments of UDP are sent, but never received unfinished', async (t) => {
  const supported = supportedOffloads('6.6.0');
  t.ok(supported & NET_FEATURE.HOST_UFO);
  t.notOk(supported & NET_FEATURE.GUEST_UFO);
  t.ok(supported & NET_FEATURE.GUEST_TSO4);
});
