import 'reflect-metadata';
import { once } from 'node:events';
import { coreModule, LocalEvent } from '@rxvhost/core';
import { Container } from 'inversify';
import t from 'tap';
import {
  ENDPOINT_OPTIONS,
  type EndpointOptions,
  GuestVsock,
  HOST_CID,
  plugInVsock,
  SCHEDULER,
  type Scheduler,
  socketsModule,
  VhostVsock,
  type VhostVsockOptions,
  VSOCK_OPTIONS,
  Vsock,
  VsockCard,
  vsockModule,
} from '../src/index.js';
import { newArena } from './support/machine.js';
import { GUEST_CID, ManualScheduler } from './support/pair.js';

t.test(
  'a container makes a device and the sockets over it, with a clock of one’s own',
  async (t) => {
    const container = new Container();
    const time = new ManualScheduler();
    container.load(coreModule, socketsModule, vsockModule);
    container.bind<EndpointOptions>(ENDPOINT_OPTIONS).toConstantValue({ cid: HOST_CID });
    container
      .bind<Omit<VhostVsockOptions, 'endpoint'>>(VSOCK_OPTIONS)
      .toConstantValue({ guestCid: GUEST_CID });
    (await container.rebind<Scheduler>(SCHEDULER)).toConstantValue(time);
    const host = container.get(Vsock);
    const device = container.get(VhostVsock);
    t.equal(container.get(Vsock), host, 'one endpoint, one set of sockets');

    const arena = newArena();
    const card = new VsockCard(arena, { makeEvent: () => new LocalEvent() });
    const guest = await GuestVsock.probe(arena, plugInVsock(device, card));
    host.createServer((far) => far.on('error', () => {}).end('from the container')).listen(80);
    const socket = guest.sockets.connect({ cid: HOST_CID, port: 80 });
    const closed = once(socket, 'close');
    const [greeting] = await once(socket, 'data');
    t.equal(`${greeting}`, 'from the container');
    await closed;

    guest.endpoint.listen(81, { request() {} });
    const late = host.connect({ cid: GUEST_CID, port: 81 });
    const refused = once(late, 'error');
    time.advance(2000);
    t.match(await refused, [{ code: 'ETIMEDOUT' }], 'time is the test’s');
    await guest.remove();
    await device.close();
  },
);
