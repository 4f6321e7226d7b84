/** Guests of one process that reach one another: two devices, each guest an endpoint here. */
import t, { type Test } from 'tap';
import {
  type ConnectionType,
  EndpointSwitch,
  type Forward,
  HOST_CID,
  linkEndpoints,
  SiblingNetwork,
  VsockEndpoint,
  VsockFeature,
} from '../src/index.js';
import { acceptWith, connectionOf } from './support/pair.js';
import { Recorder } from './support/recorder.js';
import { until } from './support/until.js';

t.setTimeout(120_000);

const CLIENT_CID = 10;
const SERVER_CID = 11;

interface Guest {
  /** The guest's own half. */
  readonly guest: VsockEndpoint;
  /** What its device sees. */
  readonly endpoints: EndpointSwitch;
  /** The host's half. */
  readonly host: VsockEndpoint;
}

function machines(t: Test, forwards: readonly Forward[]): { client: Guest; server: Guest } {
  const network = new SiblingNetwork(forwards);
  const make = (cid: number): Guest => {
    const guest = new VsockEndpoint({ cid });
    const host = new VsockEndpoint({ cid: HOST_CID, peerCid: cid });
    const endpoints = new EndpointSwitch();
    endpoints.add(HOST_CID, host);
    network.join({ cid, endpoints });
    const link = linkEndpoints(endpoints, guest);
    t.teardown(() => link.unsubscribe());
    return { guest, endpoints, host };
  };
  const both = { client: make(CLIENT_CID), server: make(SERVER_CID) };
  for (const { guest, endpoints } of Object.values(both)) {
    for (const side of [guest, endpoints]) side.setFeatures(VsockFeature.SEQPACKET);
  }
  return both;
}

async function connected(
  { client, server }: { client: Guest; server: Guest },
  type: ConnectionType = 'stream',
): Promise<{ here: Recorder; there: Recorder }> {
  const here = new Recorder();
  const there = new Recorder();
  server.guest.listen(80, acceptWith(there), type);
  here.connection = client.guest.connect({ cid: SERVER_CID, port: 80, type }, here);
  await until('connected', () => here.heard.includes('connected'));
  return { here, there };
}

t.test('D9 a guest reaches a port of another one that is forwarded', async (t) => {
  const both = machines(t, [{ cid: SERVER_CID, port: 80 }]);
  const { here, there } = await connected(both);
  t.equal(connectionOf(there).remote.cid, CLIENT_CID, 'it is told who asks');
  connectionOf(here).send(Buffer.from('hello'));
  connectionOf(here).end();
  await until('hello and the end', () => there.heard.includes('ended'));
  t.equal(there.text, 'hello');
  connectionOf(there).send(Buffer.alloc(1_000_000, 'x'));
  connectionOf(there).end();
  await until('the end', () => here.heard.includes('closed well'));
  t.equal(here.bytes.length, 1_000_000, 'the other direction went on');
  await until('the other side has closed too', () => connectionOf(there).closed);
});

t.test('D9 messages keep their borders from guest to guest', async (t) => {
  const { here, there } = await connected(machines(t, [{ cid: SERVER_CID }]), 'seqpacket');
  const sizes = [0, 1, 5000, 100_000];
  for (const size of sizes) connectionOf(here).send(Buffer.alloc(size), undefined, size === 1);
  await until('all messages', () => there.messages.length === sizes.length);
  t.same(
    there.messages.map(({ bytes, endOfRecord }) => [bytes.length, endOfRecord]),
    sizes.map((size) => [size, size === 1]),
  );
});

t.test('D9 what is not forwarded is refused, and what is nobody’s is not reached', async (t) => {
  const { client, server } = machines(t, [{ cid: SERVER_CID, port: 80 }]);
  for (const side of [client, server]) side.guest.listen(81, acceptWith(new Recorder()));
  const attempt = async ({ guest }: Guest, cid: number, port: number) => {
    const recorder = new Recorder();
    guest.connect({ cid, port }, recorder);
    await until('an answer', () => recorder.heard.length > 0);
    return recorder.heard;
  };
  t.same(await attempt(client, SERVER_CID, 81), ['closed ECONNREFUSED'], 'another port');
  t.same(await attempt(server, CLIENT_CID, 81), ['closed ECONNREFUSED'], 'the other direction');
  t.same(await attempt(client, SERVER_CID, 80), ['closed ECONNREFUSED'], 'nobody listens there');
  t.equal(client.endpoints.has(SERVER_CID), true);
  t.equal(client.endpoints.has(99), false);
  const apart = machines(t, []);
  t.equal(apart.client.endpoints.has(SERVER_CID), false, 'without forwards there are no siblings');
});

t.test('D9 T73 a guest that does not read holds up only who writes to it', async (t) => {
  const both = machines(t, [{ cid: SERVER_CID, port: 80 }]);
  const { here, there } = await connected(both);
  there.holding = true;
  let taken = 0;
  for (let sent = 0; sent < 40; sent += 1) {
    connectionOf(here).send(Buffer.alloc(100_000), () => (taken += 1));
  }
  await until('credit is used up', () => connectionOf(there).untakenBytes === 262_144);
  t.ok(taken <= 10, `${taken} of 40 buffers have left the guest`);
  const host = new Recorder();
  both.client.host.listen(5, acceptWith(host));
  const mine = new Recorder();
  const other = both.client.guest.connect({ cid: HOST_CID, port: 5 }, mine);
  await until('the host answers', () => mine.heard.includes('connected'));
  other.send(Buffer.from('still here'));
  await until('the other connection goes on', () => host.text === 'still here');
  there.holding = false;
  there.takeAll();
  await until('everything', () => there.bytes.length === 4_000_000);
});

t.test('D9 a reset, or a guest that goes, ends the connection at the other guest', async (t) => {
  const both = machines(t, [{ cid: SERVER_CID, port: 80 }]);
  const first = await connected(both);
  connectionOf(first.here).abort();
  await until('reset', () => connectionOf(first.there).closed);
  t.same(first.there.heard.at(-1), 'closed ECONNRESET');
  const again = new Recorder();
  again.connection = both.client.guest.connect({ cid: SERVER_CID, port: 80 }, again);
  await until('connected', () => again.heard.includes('connected'));
  const { error } = first.there;
  if (error !== undefined) both.server.endpoints.reset(error); // its front-end has gone
  await until('reset', () => connectionOf(again).closed);
  t.same(again.heard.at(-1), 'closed ECONNRESET');
});
