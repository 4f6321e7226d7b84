/** Messages (`SOCK_SEQPACKET`) between Linux's own vsock driver, in QEMU, and `VsockMessageSocket`s. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VhostUserServer } from '@rxvhost/vhost-user';
import { HOST_CID, VhostVsock, Vsock, VsockEndpoint } from '@rxvhost/vsock';
import t from 'tap';
import { Guest } from './support/qemu.js';
import { needsGuestImage, needsProgram, peerTest } from './support/requirements.js';

t.setTimeout(300_000);

const requirements = [needsGuestImage, needsProgram('qemu-system-x86_64')];
const GUEST_CID = 42;
/** Bytes of the longest message. */
const LONGEST = 100_000;

/** Message `number` of those that we send. */
function message(number: number): { bytes: Uint8Array; endOfRecord: boolean } {
  const bytes = new Uint8Array(1 + ((number * number * 7919) % LONGEST));
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = number + at * 11;
  return { bytes, endOfRecord: number % 3 === 0 };
}

peerTest(t, 'D8 D9 T79 messages and a guest of QEMU', requirements, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-messages-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'vm.sock');
  const endpoint = new VsockEndpoint({ cid: HOST_CID, peerCid: GUEST_CID });
  const device = new VhostVsock({ guestCid: GUEST_CID, endpoint });
  const server = new VhostUserServer(device, { socketPath });
  t.teardown(() => server.close());
  const vsock = new Vsock(endpoint);
  const guest = await Guest.start({ vsockPath: socketPath });
  t.teardown(() => guest.kill());

  await t.test('messages of the guest arrive whole, with their ends of records', async (t) => {
    const options = { type: 'seqpacket', records: true } as const;
    const echo = vsock.createServer(options, (socket) => socket.pipe(socket)).listen(1);
    const output = await guest.check(`vsock-tool messages ${HOST_CID} 1 300`, 120_000);
    t.match(output, /^alike 300 of 300/);
    echo.close();
  });

  await t.test('messages of the host arrive whole, with their ends of records', async (t) => {
    await guest.check('vsock-tool echo-messages 2 >/tmp/served 2>&1 & sleep 0.3');
    const target = { cid: GUEST_CID, port: 2, type: 'seqpacket', records: true } as const;
    const socket = vsock.connect(target);
    await once(socket, 'connect');
    const messages = Array.from({ length: 100 }, (_, number) => message(number));
    for (const { bytes, endOfRecord } of messages) socket.sendMessage(bytes, { endOfRecord });
    let alike = 0;
    for await (const received of socket) {
      const { bytes, endOfRecord } = messages[alike] ?? { bytes: new Uint8Array(0) };
      if (Buffer.compare(received.bytes, bytes) !== 0) break;
      if (received.endOfRecord !== endOfRecord) break;
      alike += 1;
      if (alike === messages.length) break;
    }
    t.equal(alike, messages.length);
    const said = 'while pidof vsock-tool >/dev/null; do sleep 0.1; done; cat /tmp/served';
    t.match(await guest.check(said), /^echoed 100/);
  });

  await t.test('a stream and messages do not mix on one port', async (t) => {
    const server = vsock.createServer({ type: 'seqpacket' }).listen(3);
    t.match(await guest.check(`vsock-tool refused ${HOST_CID} 3`), /^ECONNRESET after/);
    server.close();
  });
});
