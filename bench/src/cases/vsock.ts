import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { VsockServer } from '@rxvhost/test/support/vsock-server.js';
import { HOST_CID, type Vsock } from '@rxvhost/vsock';
import type { Result } from '../result.js';
import { ON_SPLIT_RINGS, type Settings, WARM_UP } from '../settings.js';
import { type Ends, flow } from '../vsock/flow.js';
import { GUEST_CID, localGuest, remoteGuest } from '../vsock/guests.js';
import { startSocat } from '../vsock/socat.js';

const MEBIBYTE = 1 << 20;
const PORT = 1;
const AT_ONCE = 16;

type Direction = 'toHost' | 'toGuest';
type Rates = Record<Direction, number>;
type Served = Rates & { readonly connections: number; readonly plain: number };

/** One round of ours. */
interface Measured {
  readonly local: Rates;
  readonly remote: Served;
}

/** One stream in each direction, and connections, beside socat between two Unix sockets and Node's own. */
export async function vsockStreams(settings: Settings): Promise<Result[]> {
  const own: Measured[] = [];
  const split: Measured[] = [];
  const socat: number[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    const at = (name: string) => join(settings.folder, `vsock${round}-${name}`);
    const measure = async (measured: Settings, suffix: string): Promise<Measured> => ({
      local: await inProcess(measured),
      remote: await overVhostUser(measured, (name) => at(`${name}${suffix}`)),
    });
    own.push(await measure(settings, ''));
    if (settings.packed) split.push(await measure({ ...settings, packed: false }, '-split'));
    socat.push(await throughSocat(settings, at));
  }
  const result = (
    [name, unit]: readonly [string, string],
    pick: (measured: Measured) => number,
    peer: Result['peers'][number],
  ): Result => {
    const beside = settings.packed ? [{ name: ON_SPLIT_RINGS, figures: split.map(pick) }] : [];
    return { name, unit, better: 'more', own: own.map(pick), peers: [peer, ...beside] };
  };
  const stream = (name: string, pick: (measured: Measured) => number): Result =>
    result([`vsock stream, ${name}`, 'MiB/s'], pick, {
      name: 'socat between two Unix sockets',
      figures: socat,
    });
  return [
    stream('guest to host, in process', ({ local }) => local.toHost),
    stream('host to guest, in process', ({ local }) => local.toGuest),
    stream('guest to host socket, over vhost-user', ({ remote }) => remote.toHost),
    stream('host socket to guest, over vhost-user', ({ remote }) => remote.toGuest),
    result(
      ['vsock connections to a host socket, over vhost-user', '1/s'],
      ({ remote }) => remote.connections,
      { name: 'Unix sockets', figures: own.map(({ remote }) => remote.plain) },
    ),
  ];
}

async function inProcess(settings: Settings): Promise<Rates> {
  const { guest, host, close } = await localGuest(settings.packed);
  try {
    const server = host.createServer().listen(PORT);
    const ends = async (): Promise<[Duplex, Duplex]> => {
      const far = once(server, 'connection') as Promise<[Duplex]>;
      const near = guest.connect({ cid: HOST_CID, port: PORT });
      return [near, (await far)[0]];
    };
    return await bothWays(settings, ends);
  } finally {
    await close();
  }
}

async function overVhostUser(settings: Settings, at: (name: string) => string): Promise<Served> {
  const paths = { socketPath: at('vm'), udsPath: at('host') };
  const server = await VsockServer.start({ ...paths, guestCid: GUEST_CID });
  const { guest, close } = await remoteGuest(paths.socketPath, settings.packed);
  const listener = createServer().listen(`${paths.udsPath}_${PORT}`);
  try {
    const ends = async (): Promise<[Duplex, Duplex]> => {
      const far = once(listener, 'connection') as Promise<[Socket]>;
      const near = guest.connect({ cid: HOST_CID, port: PORT });
      return [near, (await far)[0]];
    };
    const rates = await bothWays(settings, ends);
    listener.on('connection', (socket) => socket.resume().end('x'));
    const connections = await connectionRate(settings, () => openVsock(guest));
    const plain = await connectionRate(settings, () => connect(`${paths.udsPath}_${PORT}`));
    return { ...rates, connections, plain };
  } finally {
    listener.close();
    await close();
    await server.stop();
  }
}

function openVsock(guest: Vsock): Duplex {
  return guest.connect({ cid: HOST_CID, port: PORT });
}

async function throughSocat(settings: Settings, at: (name: string) => string): Promise<number> {
  const [near, far] = [at('near'), at('far')];
  const listener = createServer().listen(far);
  const socat = await startSocat([`UNIX-LISTEN:${near}`, `UNIX-CONNECT:${far}`], near);
  try {
    const accepted = once(listener, 'connection') as Promise<[Socket]>;
    const from = connect(near);
    return await rate(settings, { from, to: (await accepted)[0] });
  } finally {
    listener.close();
    await socat.stop('SIGKILL');
  }
}

async function bothWays(
  settings: Settings,
  ends: () => Promise<[near: Duplex, far: Duplex]>,
): Promise<Rates> {
  const [near, far] = await ends();
  const toHost = await rate(settings, { from: near, to: far });
  const [nearAgain, farAgain] = await ends();
  return { toHost, toGuest: await rate(settings, { from: farAgain, to: nearAgain }) };
}

/** Mebibytes a second. */
async function rate({ seconds }: Settings, ends: Ends): Promise<number> {
  // What is ended in the middle of a stream says so.
  for (const end of [ends.from, ends.to]) end.on('error', () => {});
  return (await flow(ends, seconds, WARM_UP)) / MEBIBYTE;
}

/** Connections a second, each opened, answered with a byte and closed, some of them at once. */
async function connectionRate({ seconds }: Settings, open: () => Duplex): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (performance.now() < end) {
        const socket = open();
        const closed = once(socket, 'close');
        socket.resume().end();
        await closed;
        count += 1;
      }
    }),
  );
  return (count / (performance.now() - start)) * 1000;
}
