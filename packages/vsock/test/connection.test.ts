import { VhostError } from '@rxvhost/core';
import t from 'tap';
import { PortNumbers } from '../src/connection/port-numbers.js';
import { HOST_CID } from '../src/index.js';
import { connectionOf, Pair } from './support/pair.js';
import { Recorder } from './support/recorder.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');

t.test('D8 a connection is requested, answered, used both ways and closed by both', async (t) => {
  const pair = new Pair();
  const { here, there } = pair.connect();
  t.same(here.heard, ['connected']);
  connectionOf(here).send(bytes('question'));
  connectionOf(there).send(bytes('answer'));
  pair.settle();
  t.equal(there.text, 'question');
  t.equal(here.text, 'answer');
  connectionOf(here).end();
  pair.settle();
  t.same(there.heard, ['ended']);
  connectionOf(there).end();
  pair.settle();
  t.same(here.heard, ['connected', 'ended', 'closed well']);
  t.same(there.heard, ['ended', 'closed well']);
  t.equal(pair.host.counters.open, 0);
  t.equal(pair.guest.counters.open, 0);
  t.equal(pair.time.pending, 0);
});

t.test('D8 a port where nobody listens is refused at once', async (t) => {
  const pair = new Pair();
  const here = new Recorder();
  pair.guest.connect({ cid: HOST_CID, port: 81 }, here);
  pair.settle();
  t.same(here.heard, ['closed ECONNREFUSED']);
  t.equal(pair.host.statistics().resetsSent.refused, 1);
  t.equal(pair.guest.statistics().openFailed, 1);
});

t.test('D8 a connection that is not answered in time ends with ETIMEDOUT', async (t) => {
  const pair = new Pair();
  const here = new Recorder();
  pair.host.listen(80, { request() {} });
  pair.guest.connect({ cid: HOST_CID, port: 80, connectTimeout: 1000 }, here);
  pair.settle();
  pair.time.advance(999);
  t.same(here.heard, []);
  pair.time.advance(1);
  t.same(here.heard, ['closed ETIMEDOUT']);
  pair.settle();
  t.equal(pair.host.counters.open, 0, 'the other side has heard of it');
});

t.test(
  'T70 after one side has ended the other may still send, for as long as it likes',
  async (t) => {
    for (const first of ['here', 'there'] as const) {
      const pair = new Pair();
      const both = pair.connect();
      const ender = both[first];
      const sender = both[first === 'here' ? 'there' : 'here'];
      connectionOf(ender).send(bytes('last words'));
      connectionOf(ender).end();
      pair.settle();
      t.equal(sender.text, 'last words', 'what was queued comes before the end');
      t.ok(sender.heard.includes('ended'));
      for (let round = 0; round < 20; round += 1) {
        connectionOf(sender).send(Buffer.alloc(100_000, round));
        pair.settle();
      }
      t.equal(ender.bytes.length, 2_000_000);
      t.throws(() => connectionOf(ender).send(bytes('x')), { code: 'EPIPE' });
      connectionOf(sender).end();
      pair.settle();
      t.ok(ender.heard.includes('closed well'));
      t.ok(sender.heard.includes('closed well'));
    }
  },
);

t.test('T70 bytes that wait are taken before the end is seen', async (t) => {
  const pair = new Pair();
  const { here, there } = pair.connect();
  there.holding = true;
  connectionOf(here).send(bytes('waits'));
  connectionOf(here).close();
  pair.settle();
  t.same(there.heard, ['refusing', 'closed well'], 'over on the wire');
  t.equal(pair.host.counters.open, 1, 'but it counts until everything is taken');
  t.notOk(connectionOf(there).ended);
  there.takeAll();
  t.equal(there.text, 'waits');
  t.ok(connectionOf(there).ended);
  t.equal(pair.host.counters.open, 0);
});

t.test(
  'T77 a peer that does not agree to a close gets an RST, and only then is the port free',
  async (t) => {
    const pair = new Pair();
    const { here } = pair.connect({ localPort: 5000, lingerTime: 3000 });
    pair.link.unsubscribe();
    connectionOf(here).close();
    const again = () => pair.guest.connect({ cid: HOST_CID, port: 80, localPort: 5000 }, here);
    t.throws(again, { code: 'EADDRINUSE' });
    pair.time.advance(2999);
    t.throws(again, { code: 'EADDRINUSE' });
    pair.time.advance(1);
    t.same(here.heard, ['connected', 'closed well']);
    t.equal(pair.guest.statistics().resetsSent.linger, 1);
    again();
  },
);

t.test('T77 the number of connections is limited, and ports are not given twice', async (t) => {
  const pair = new Pair({ maxConnections: 3, firstPort: 0xffff_fffd });
  const recorders = [0, 1, 2].map(() => pair.connect().here);
  const ports = recorders.map((recorder) => connectionOf(recorder).local.port);
  t.same(
    ports,
    [0xffff_fffd, 0xffff_fffe, 1024],
    'the last port is followed by the first free one',
  );
  t.throws(() => pair.guest.connect({ cid: HOST_CID, port: 80 }, new Recorder()), {
    code: 'ENOBUFS',
  });
  const [first] = recorders;
  connectionOf(first as Recorder).abort();
  pair.settle();
  t.equal(pair.host.counters.open, 2, 'an end makes room');
  t.equal(connectionOf(pair.connect().here).local.port, 1025);
});

t.test(
  'T73 T77 a connection keeps its place until its RST has gone, and is no reply to wait for',
  async (t) => {
    const pair = new Pair({ maxConnections: 3 });
    const recorders = [0, 1, 2].map(() => pair.connect().here);
    for (const { connection } of recorders) connection?.abort();
    const again = () => pair.guest.connect({ cid: HOST_CID, port: 80 }, new Recorder());
    t.throws(again, { code: 'ENOBUFS' });
    t.equal(pair.guest.queuedReplies, 0, 'ends of one’s own do not keep packets out');
    pair.settle();
    again();
  },
);

t.test('T77 when every port is used, connecting fails with EADDRNOTAVAIL', async (t) => {
  const ports = new PortNumbers(0xffff_0000);
  t.throws(() => ports.take(() => true), { code: 'EADDRNOTAVAIL' });
  t.equal(
    new PortNumbers(5).take((port) => port < 2000),
    2000,
    'service ports are left out',
  );
});

t.test('T77 a host at its limit refuses with an RST', async (t) => {
  const pair = new Pair({ maxConnections: 2 });
  pair.connect();
  pair.connect();
  const here = new Recorder();
  pair.host.listen(9, { request: (request) => void request.accept(here) });
  pair.guest.reset(new VhostError('ECONNRESET', 'forgotten'));
  pair.guest.connect({ cid: HOST_CID, port: 9 }, here);
  pair.settle();
  t.same(here.heard, ['closed ECONNREFUSED']);
  t.equal(pair.host.statistics().resetsSent.limit, 1);
});

t.test(
  'D6 a reset of the transport ends every connection with ECONNRESET, listeners stay',
  async (t) => {
    const pair = new Pair();
    const { here, there } = pair.connect();
    pair.guest.reset(new VhostError('ECONNRESET', 'the transport was reset'));
    pair.host.reset(new VhostError('ECONNRESET', 'the transport was reset'));
    t.same(here.heard, ['connected', 'closed ECONNRESET']);
    t.same(there.heard, ['closed ECONNRESET']);
    pair.settle();
    t.same(pair.host.statistics().resetsSent.unknown, 0, 'nothing was sent for it');
    t.same(pair.connect().here.heard, ['connected']);
  },
);

t.test('an end at once is heard by the other side as ECONNRESET', async (t) => {
  const pair = new Pair();
  const { here, there } = pair.connect();
  connectionOf(here).abort();
  pair.settle();
  t.same(here.heard, ['connected', 'closed well']);
  t.same(there.heard, ['closed ECONNRESET']);
});

t.test('a peer that takes no more lets sending fail with EPIPE', async (t) => {
  const pair = new Pair();
  const { here, there } = pair.connect();
  connectionOf(there).send(bytes('x'.repeat(10)));
  connectionOf(here).close();
  pair.settle();
  t.ok(there.heard.includes('refusing'));
  t.throws(() => connectionOf(there).send(bytes('y')), { code: 'EPIPE' });
});
