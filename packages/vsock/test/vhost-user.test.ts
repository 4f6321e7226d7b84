/** The guest's transport and the host's device with nothing between them but a socket and shared memory. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FEATURE, type RingSwitches } from '@rxvhost/core';
import { GuestMemoryArena } from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { VhostUserFrontend, VhostUserServer } from '@rxvhost/vhost-user';
import t, { type Test } from 'tap';
import {
  GuestVsock,
  HOST_CID,
  plugInOverVhostUser,
  VhostVsock,
  VSOCK_DRIVER_FEATURES,
  Vsock,
  VsockCard,
  VsockEndpoint,
} from '../src/index.js';
import { GUEST_CID } from './support/pair.js';
import { until } from './support/until.js';

t.setTimeout(120_000);

const { RING_PACKED, IN_ORDER } = FEATURE;
const LAYOUTS = [
  ['split rings', 0n],
  ['packed rings', RING_PACKED],
  ['packed rings, in order', RING_PACKED | IN_ORDER],
] as const;

const MEMORY_SIZE = 16 << 20;
const PLACE = { guestAddress: 0x10_0000, userAddress: 0x7f00_0000_0000, size: MEMORY_SIZE };

/** The host's side, served at a socket path. */
function serveVsock(
  t: Test,
  ringSwitches: RingSwitches = {},
): { host: Vsock; device: VhostVsock; path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'vsock-'));
  const endpoint = new VsockEndpoint({ cid: HOST_CID, peerCid: GUEST_CID });
  const device = new VhostVsock({ guestCid: GUEST_CID, endpoint, rings: ringSwitches });
  const path = join(directory, 'vsock.sock');
  const server = new VhostUserServer(device, { socketPath: path });
  t.teardown(async () => {
    await server.close();
    await device.close();
    rmSync(directory, { recursive: true });
  });
  return { host: new Vsock(endpoint), device, path };
}

/** A guest that is plugged into it. */
async function boot(
  t: Test,
  path: string,
  rings = 0n,
): Promise<{ guest: GuestVsock; front: VhostUserFrontend }> {
  const front = VhostUserFrontend.connect(path);
  const memfd = createMemfd('vsock-guest', MEMORY_SIZE);
  const memory = mapShared(memfd, 0, MEMORY_SIZE);
  const arena = new GuestMemoryArena([{ ...PLACE, mapping: memory }]);
  const features = VSOCK_DRIVER_FEATURES | rings;
  const card = new VsockCard(arena, { makeEvent: () => new EventFd(), features });
  t.teardown(() => {
    front.close();
    card.close();
    memory.release();
    closeFd(memfd);
  });
  const device = await plugInOverVhostUser(front, card, [{ ...PLACE, fd: memfd }]).catch(
    (error: unknown) => {
      front.close();
      throw error;
    },
  );
  const guest = await GuestVsock.probe(arena, device);
  t.teardown(() => guest.remove());
  return { guest, front };
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

for (const [layout, rings] of LAYOUTS) {
  t.test(
    `${layout}: D1 D8 D9 over vhost-user: large transfers both ways at once, in order and whole`,
    async (t) => {
      const { host, path } = serveVsock(t);
      const { guest } = await boot(t, path, rings);
      t.equal(guest.endpoint.cid, GUEST_CID, 'the address came over the socket');
      const sent = Buffer.alloc(8 << 20);
      for (let at = 0; at < sent.length; at += 4) sent.writeUInt32LE(at, at);
      const transfers = [
        { from: guest.sockets, to: host, cid: HOST_CID, port: 1 },
        { from: host, to: guest.sockets, cid: GUEST_CID, port: 2 },
      ];
      const sums = await Promise.all(
        transfers.map(async ({ from, to, cid, port }) => {
          const server = to.createServer().listen(port);
          const socket = from.connect({ cid, port });
          socket.resume().end(sent);
          const closed = once(socket, 'close');
          const [far] = await once(server, 'connection');
          const chunks: Buffer[] = [];
          far.on('data', (chunk: Buffer) => chunks.push(chunk));
          await Promise.all([once(far, 'end'), closed]);
          server.close();
          return sha256(Buffer.concat(chunks));
        }),
      );
      t.same(sums, [sha256(sent), sha256(sent)]);
    },
  );

  t.test(
    `${layout}: D8 T77 two hundred connections at once, and a closed port, over vhost-user`,
    async (t) => {
      const { host, path } = serveVsock(t);
      const { guest } = await boot(t, path, rings);
      host.createServer((socket) => socket.pipe(socket)).listen(80);
      const answers = await Promise.all(
        Array.from({ length: 200 }, async (_, index) => {
          const socket = guest.sockets.connect({ cid: HOST_CID, port: 80 });
          socket.write(`${index}`);
          const [answer] = await once(socket, 'data');
          socket.end();
          await once(socket, 'close');
          return Number(answer);
        }),
      );
      t.same(answers, Array.from(answers.keys()));
      const refused = guest.sockets.connect({ cid: HOST_CID, port: 81 });
      await t.rejects(once(refused, 'connect'), { code: 'ECONNREFUSED' });
      await until('all connections are over', () => host.endpoint.counters.open === 0);
    },
  );

  t.test(
    `${layout}: D7 a driver that is removed and probed again, and a front-end that goes`,
    async (t) => {
      const { host, path, device } = serveVsock(t);
      const errors: string[] = [];
      host.createServer((far) => far.on('error', (error) => errors.push(`${error}`))).listen(80);
      const first = await boot(t, path, rings);
      const socket = first.guest.sockets.connect({ cid: HOST_CID, port: 80 });
      await once(socket, 'connect');
      const gone = once(socket, 'error');
      await first.guest.remove();
      const [error] = await gone;
      t.equal(error.code, 'ECONNRESET');
      first.front.close();
      await until('the host hears of it', () => errors.length === 1);
      t.match(errors, [/ECONNRESET/]);
      const second = await boot(t, path, rings);
      const again = second.guest.sockets.connect({ cid: HOST_CID, port: 80 });
      await once(again, 'connect');
      const reset = once(again, 'error');
      device.resetTransport();
      await reset;
      t.equal(second.guest.counters.transportResets, 1, 'T76 the event came over the rings');
    },
  );
}

t.test('T18 ways to use a ring are offered unless they are switched off', async (t) => {
  const { path, device } = serveVsock(t, { packed: false, reset: false });
  t.equal(device.offeredFeatures & (RING_PACKED | IN_ORDER | FEATURE.RING_RESET), IN_ORDER);
  await t.rejects(boot(t, path, RING_PACKED), { code: 'EOPNOTSUPP' }, 'a card with packed rings');
  const { guest } = await boot(t, path, IN_ORDER);
  t.equal(guest.endpoint.cid, GUEST_CID);
});
