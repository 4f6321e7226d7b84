import t from 'tap';
import { FLAG_NEED_REPLY, protocolFeatures, U64, VERSION, VRING_STATE } from '../src/index.js';
import { codes, FEATURES, makeBench, negotiate } from './support/bench.js';

/** Requests that are known and refused, and how whoever sent them learns of it. */

const NEED_REPLY = VERSION | FLAG_NEED_REPLY;

t.test('T14 what is never offered is refused, and nobody waits for its reply', async (t) => {
  for (const request of [26, 28, 30, 41, 44]) {
    const { frontend, server } = await makeBench(t);
    const offered = await frontend.request('GET_PROTOCOL_FEATURES', undefined);
    t.equal(
      offered & protocolFeatures('CRYPTO_SESSION', 'PAGEFAULT', 'SHARED_OBJECT', 'SHMEM'),
      0n,
    );
    await negotiate(frontend);
    const payload = new Uint8Array(16);
    const asked = { request, payload, expectReply: true };
    const answer = await frontend.exchange({ ...asked, flags: NEED_REPLY });
    t.equal(U64.decode(answer ?? new Uint8Array(0)), 95n, `request ${request}: EOPNOTSUPP`);
    await t.rejects(frontend.exchange(asked), { code: 'ECONNRESET' }, `request ${request}`);
    await server.closed;
  }
});

t.test('little-endian rings are what there is; big-endian ones are refused aloud', async (t) => {
  const { frontend, errors, server } = await makeBench(t);
  await negotiate(frontend, FEATURES, protocolFeatures('REPLY_ACK', 'CROSS_ENDIAN'));
  await frontend.request('SET_VRING_ENDIAN', { index: 1, num: 0 });
  const refused = (index: number, num: number, code: string) =>
    t.rejects(frontend.request('SET_VRING_ENDIAN', { index, num }), { code });
  await refused(0, 1, 'EOPNOTSUPP');
  await refused(0, 2, 'EINVAL');
  await refused(2, 0, 'ENOBUFS');
  const payload = VRING_STATE.encode({ index: 0, num: 1 });
  await frontend.exchange({ request: 23, payload, expectReply: false });
  await server.closed;
  t.equal(codes(errors).at(-1), 'SET_VRING_ENDIAN EOPNOTSUPP', 'unheard, it ends the connection');
});
