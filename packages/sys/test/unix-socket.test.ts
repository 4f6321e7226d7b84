import t from 'tap';
import {
  closeFd,
  createMemfd,
  fileStatus,
  receiveBytes,
  receiveWithFds,
  sendWithFds,
  socketPair,
  unixPeer,
} from '../src/index.js';
import { cleanTest, codeOf, messageOf, openFds } from './support/resources.js';

const HELLO = Uint8Array.from([1, 2, 3, 4, 5]);

cleanTest(t, 'fds travel with the first byte and belong to the receiver', async (t) => {
  const [one, other] = socketPair();
  const memfds = [createMemfd('a', 4096), createMemfd('b', 8192)];
  t.equal(sendWithFds(one, HELLO, memfds), 5);
  const target = new Uint8Array(3);
  const first = receiveWithFds(other, target);
  t.equal(first?.bytes, 3, 'just what the target holds');
  t.same(
    first?.fds.map((fd) => fileStatus(fd).size),
    [4096, 8192],
  );
  t.same(receiveWithFds(other, target), { bytes: 2, fds: [] });
  t.equal(receiveWithFds(other, target), undefined, 'would block');
  t.equal(receiveBytes(other, target), undefined);
  for (const fd of [...(first?.fds ?? []), ...memfds, one]) closeFd(fd);
  t.same(receiveWithFds(other, target), { bytes: 0, fds: [] }, 'end of the stream');
  t.equal(receiveBytes(other, target), 0);
  t.equal(
    codeOf(() => sendWithFds(other, HELLO, [])),
    'EPIPE',
    'an error, no SIGPIPE (T17)',
  );
  closeFd(other);
  t.equal(
    codeOf(() => receiveWithFds(other, target)),
    'EBADF',
  );
});

cleanTest(t, 'T24 more fds than expected: an error that leaks none of them', async (t) => {
  const [one, other] = socketPair();
  const memfd = createMemfd('c', 4096);
  const target = new Uint8Array(12);
  const before = openFds().length;
  for (const [sent, most] of [
    [9, 8],
    [3, 2],
    [2, 1],
    [253, 8],
    [1, 0],
    [8, 7],
  ] as const) {
    sendWithFds(one, HELLO, new Array(sent).fill(memfd));
    t.equal(
      codeOf(() => receiveWithFds(other, target, most)),
      'EMSGSIZE',
      `${sent} for ${most}`,
    );
    t.equal(openFds().length, before, 'nothing stays open');
  }
  t.match(
    messageOf(() => receiveWithFds(other, target, 300)),
    /EINVAL/,
  );
  sendWithFds(one, HELLO, new Array(8).fill(memfd));
  const whole = receiveWithFds(other, target);
  t.equal(whole?.fds.length, 8, 'eight are welcome');
  for (const fd of [...(whole?.fds ?? []), one, other, memfd]) closeFd(fd);
});

cleanTest(t, 'bytes alone drop the fds that came with them', async (t) => {
  const [one, other] = socketPair();
  const before = openFds().length;
  sendWithFds(one, HELLO, [one, one]);
  t.equal(receiveBytes(other, new Uint8Array(9)), 5);
  t.equal(openFds().length, before);
  closeFd(one);
  closeFd(other);
});

cleanTest(
  t,
  'the process at the other end is known, and what is no connection is told',
  async (t) => {
    const [one, other] = socketPair();
    const [near, far] = socketPair('datagram');
    const memfd = createMemfd('d', 4096);
    t.equal(unixPeer(one), process.pid);
    t.equal(
      codeOf(() => unixPeer(near)),
      'ESOCKTNOSUPPORT',
    );
    t.equal(
      codeOf(() => unixPeer(memfd)),
      'ENOTSOCK',
    );
    for (const fd of [one, other, near, far, memfd]) closeFd(fd);
    t.equal(
      codeOf(() => unixPeer(one)),
      'EBADF',
    );
  },
);

cleanTest(t, 'sending into a full socket is short, then would block', async (t) => {
  const [one, other] = socketPair();
  const much = new Uint8Array(4 << 20);
  const sent = sendWithFds(one, much, [other]);
  t.ok(sent !== undefined && sent > 0 && sent < much.length);
  t.equal(sendWithFds(one, much, []), undefined);
  t.equal(
    codeOf(() => sendWithFds(one, new Uint8Array(0), [other])),
    'EINVAL',
  );
  t.equal(
    codeOf(() => sendWithFds(one, HELLO, [-1])),
    'EBADF',
  );
  t.equal(
    codeOf(() => sendWithFds(one, HELLO, [9999])),
    'EBADF',
  );
  t.equal(
    codeOf(() => sendWithFds(one, HELLO, new Array(254).fill(1))),
    'EINVAL',
  );
  closeFd(one);
  closeFd(other);
});
