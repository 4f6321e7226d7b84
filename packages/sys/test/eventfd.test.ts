import { spawnSync } from 'node:child_process';
import { openSync, writeSync } from 'node:fs';
import t from 'tap';
import { closeFd, duplicateFd, EventFd, openEventFd, socketPair } from '../src/index.js';
import { cleanTest, codeOf, eventually, turns } from './support/resources.js';

cleanTest(
  t,
  'A10 A12 T93 signals add up and are emitted once, those before the subscription too',
  async (t) => {
    const event = new EventFd();
    event.signal();
    event.signal();
    const counts: number[] = [];
    const subscription = event.events$.subscribe((count) => counts.push(count));
    t.same(counts, [], 'not inside subscribe');
    await eventually(() => counts.length > 0);
    t.same(counts, [2]);
    event.signal();
    await eventually(() => counts.length > 1);
    subscription.unsubscribe();
    event.signal();
    await turns(5);
    t.same(counts, [2, 1], 'nothing after the unsubscription');
    t.equal(event.read(), 1, 'it was kept');
    t.equal(event.read(), 0, 'reading never blocks');
    event.close();
    event.close();
  },
);

cleanTest(
  t,
  'closing an eventfd completes its subscription; afterwards it does nothing',
  async (t) => {
    const event = new EventFd();
    let completed = 0;
    event.events$.subscribe({
      complete: () => {
        completed += 1;
      },
    });
    event.close();
    t.equal(completed, 1);
    event.signal();
    t.equal(
      codeOf(() => event.read()),
      'EBADF',
    );
    event.events$.subscribe({
      complete: () => {
        completed += 1;
      },
    });
    t.equal(completed, 2, 'a late subscriber learns at once');
  },
);

cleanTest(t, 'an eventfd may be closed, and unsubscribed, inside its own emission', async (t) => {
  const one = new EventFd();
  let emissions = 0;
  one.events$.subscribe(() => {
    emissions += 1;
    one.signal();
    one.close();
  });
  one.signal();
  await turns(5);
  t.equal(emissions, 1);
  const other = new EventFd();
  const counts: number[] = [];
  const subscription = other.events$.subscribe((count) => {
    counts.push(count);
    other.signal();
    subscription.unsubscribe();
    other.events$.subscribe((next) => counts.push(next));
  });
  other.signal();
  t.ok(await eventually(() => counts.length === 2));
  other.close();
});

cleanTest(t, 'only eventfds are adopted, and an fd that is refused stays open', async (t) => {
  const [one, two] = socketPair();
  const file = openSync('/dev/null', 'r');
  t.equal(
    codeOf(() => new EventFd(one)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => new EventFd(file)),
    'EINVAL',
  );
  for (const fd of [one, two, file]) closeFd(fd);
  t.equal(
    codeOf(() => new EventFd(one)),
    'EBADF',
  );
  t.equal(
    codeOf(() => new EventFd(-1)),
    'EBADF',
  );
  const event = new EventFd();
  const adopted = new EventFd(duplicateFd(event.fd));
  adopted.signal();
  t.equal(event.read(), 1, 'both are one counter');
  adopted.close();
  event.close();
});

cleanTest(t, 'a full counter stays full: signal neither blocks nor throws', async (t) => {
  const event = new EventFd();
  const nearlyFull = Buffer.alloc(8);
  nearlyFull.writeBigUInt64LE(0xffff_ffff_ffff_fffen);
  writeSync(event.fd, nearlyFull);
  event.signal();
  t.ok(event.read() >= 2 ** 53);
  t.equal(event.read(), 0);
  event.close();
});

cleanTest(t, 'an eventfd that would block its users blocks nobody here', async (t) => {
  // What `eventfd(0, 0)` of a front-end gives: here, one whose O_NONBLOCK was taken away.
  const original = new EventFd();
  const cleared = spawnSync('python3', ['-c', 'import fcntl; fcntl.fcntl(3, fcntl.F_SETFL, 0)'], {
    stdio: ['ignore', 'ignore', 'ignore', original.fd],
  });
  if (cleared.status !== 0) t.comment('no python3 here: the eventfd stays non-blocking');
  const adopted = new EventFd(duplicateFd(original.fd));
  t.equal(adopted.read(), 0, 'an empty one is not waited for');
  const nearlyFull = Buffer.alloc(8);
  nearlyFull.writeBigUInt64LE(0xffff_ffff_ffff_fffen);
  writeSync(original.fd, nearlyFull);
  adopted.signal();
  t.ok(adopted.read() > 1, 'nor a full one');
  adopted.signal();
  t.equal(adopted.read(), 1);
  adopted.close();
  original.close();
});

cleanTest(t, 'a second subscription is refused: a counter can be read only once', async (t) => {
  const event = new EventFd();
  event.events$.subscribe();
  let code: unknown;
  event.events$.subscribe({
    error: (error) => {
      code = error.code;
    },
  });
  t.equal(code, 'EBUSY');
  event.close();
});

cleanTest(t, 'T42 a kick fd closed behind our back ends quietly', async (t) => {
  const event = new EventFd();
  let completed = false;
  event.events$.subscribe({
    complete: () => {
      completed = true;
    },
  });
  await turns(2);
  closeFd(event.fd);
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const used = process.cpuUsage(before);
  t.ok(used.user + used.system < 60_000, `no spin: ${used.user + used.system} us of 100000`);
  event.close();
  t.ok(completed);
});

cleanTest(t, 'A14 a port on somebody’s eventfd leaves that one open', async (t) => {
  const theirs = new EventFd();
  const port = openEventFd(theirs.fd);
  t.not(port.fd, theirs.fd);
  port.signal();
  t.equal(theirs.read(), 1, 'both are the same counter');
  port.close();
  theirs.signal();
  t.equal(theirs.read(), 1, 'closing one leaves the other');
  const [one, other] = socketPair();
  t.equal(
    codeOf(() => openEventFd(one)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => openEventFd(9999)),
    'EBADF',
  );
  for (const fd of [one, other]) closeFd(fd);
  theirs.close();
});
