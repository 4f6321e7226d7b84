import { closeSync, openSync } from 'node:fs';
import {
  BACKEND_CHAIN,
  BACKEND_PROVIDER,
  type BackendProvider,
  BackendRefusal,
  coreModule,
  NullSocket,
  type PacketSocket,
  VhostError,
} from '@rxvhost/core';
import {
  closeFd,
  fileStatus,
  interfaceExists,
  openTap as openTun,
  socketPair,
  TUN_FLAGS,
} from '@rxvhost/sys';
import { Container } from 'inversify';
import t from 'tap';
import { TapProvider, TapSocket, tapModule } from '../src/index.js';
import { insideNamespace, openDevice } from './namespace.js';

const CLOSED_FD = 999;

if (insideNamespace(import.meta.url)) {
  t.test('C10 the provider takes taps, leaves everything else alone, and says why', async (t) => {
    const provider = new TapProvider();
    const refusal = (fd: number) => {
      const answer = provider.open(fd);
      return answer instanceof BackendRefusal ? answer.error.code : 'taken';
    };
    t.equal(refusal(CLOSED_FD), 'EBADF');
    const file = openSync('/dev/null', 'r');
    t.equal(refusal(file), 'ENOTSOCK');
    closeSync(file);
    const [one, other] = socketPair();
    t.equal(refusal(one), 'ENOTSOCK');
    closeFd(one);
    closeFd(other);
    const tun = openDevice('tun1', TUN_FLAGS.IFF_TUN | TUN_FLAGS.IFF_NO_PI);
    t.equal(refusal(tun), 'EINVAL');
    closeFd(tun);
    const { fd } = openTun('chain0');
    const tap = provider.open(fd);
    t.notOk(tap instanceof BackendRefusal);
    if (!(tap instanceof BackendRefusal)) tap.close();
    t.ok(interfaceExists('chain0'), 'the fd that was given stays open');
    closeFd(fd);
    t.notOk(interfaceExists('chain0'), 'and is the last one');
  });

  t.test(
    'C10 the module puts the provider into the chain, a user’s own comes after it',
    async (t) => {
      const container = new Container();
      container.load(coreModule, tapModule);
      container.bind(BACKEND_PROVIDER).toConstantValue(new NullDeviceProvider());
      const chain = container.get(BACKEND_CHAIN);
      t.same(
        chain.providers.map(({ name }) => name),
        ['tap', 'null-device'],
      );
      const [one, other] = socketPair();
      t.throws(() => chain.open(one), { code: 'ENOTSOCK' });
      closeFd(one);
      closeFd(other);
      const { fd } = openTun('chain1');
      const socket = chain.open(fd);
      t.type(socket, TapSocket);
      socket.close();
      closeFd(fd);
      const file = openSync('/dev/null', 'r');
      t.type(chain.open(file), NullSocket);
      closeSync(file);
    },
  );
}

/** What a user of the library might add: takes any character device. */
class NullDeviceProvider implements BackendProvider {
  readonly name = 'null-device';

  open(fd: number): PacketSocket | BackendRefusal {
    if (fileStatus(fd).kind === 'character') return new NullSocket();
    return new BackendRefusal(new VhostError('ENOTSOCK', `fd ${fd} is no device`));
  }
}
