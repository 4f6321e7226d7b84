import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { take } from 'rxjs';
import t from 'tap';
import { closeFd, EventFd, FdPoll, receiveBytes, sendWithFds, socketPair } from '../src/index.js';
import { cleanTest, codeOf, collectGarbage, eventually, turns } from './support/resources.js';

const fixture = (name: string): string =>
  fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));
const ONE = Uint8Array.of(1);

cleanTest(t, 'readable$ and writable$ share one fd and one poll', async (t) => {
  const [near, far] = socketPair();
  const poll = new FdPoll(near);
  const seen: string[] = [];
  const writable = poll.writable$.pipe(take(1)).subscribe(() => seen.push('writable'));
  t.ok(await eventually(() => seen.length === 1));
  t.ok(writable.closed);
  poll.readable$.subscribe(() => {
    seen.push('readable');
    receiveBytes(near, new Uint8Array(16));
  });
  await turns(3);
  sendWithFds(far, ONE, []);
  t.ok(await eventually(() => seen.length === 2));
  await turns(3);
  t.same(seen, ['writable', 'readable']);
  poll.close();
  closeFd(near);
  closeFd(far);
});

cleanTest(
  t,
  'T93 readiness is level-triggered, and a re-subscription inside an emission is no loop',
  async (t) => {
    const [near, far] = socketPair();
    sendWithFds(far, ONE, []);
    const poll = new FdPoll(near);
    let emissions = 0;
    let sameTurn = 0;
    const again = (): void => {
      const subscription = poll.readable$.subscribe(() => {
        emissions += 1;
        sameTurn += 1;
        subscription.unsubscribe();
        if (emissions < 10) again();
      });
    };
    again();
    const largest: number[] = [];
    for (let i = 0; i < 50 && emissions < 10; i += 1) {
      sameTurn = 0;
      await turns(1);
      largest.push(sameTurn);
    }
    t.equal(emissions, 10, 'the byte is still there: it goes on');
    t.ok(Math.max(...largest) <= 1, 'once a turn');
    poll.close();
    closeFd(near);
    closeFd(far);
  },
);

cleanTest(
  t,
  'every subscriber hears of it; closing in the first one spares the second',
  async (t) => {
    const [near, far] = socketPair();
    const poll = new FdPoll(near);
    const seen: string[] = [];
    poll.readable$.subscribe({
      next: () => {
        seen.push('first');
        poll.close();
      },
      complete: () => seen.push('end 1'),
    });
    poll.readable$.subscribe({
      next: () => seen.push('second'),
      complete: () => seen.push('end 2'),
    });
    poll.writable$.subscribe({
      next: () => seen.push('writable'),
      complete: () => seen.push('end 3'),
    });
    sendWithFds(far, ONE, []);
    await turns(5);
    t.same(
      seen.filter((s) => s !== 'writable'),
      ['first', 'end 1', 'end 2', 'end 3'],
    );
    poll.readable$.subscribe({ complete: () => seen.push('late') });
    t.equal(seen.at(-1), 'late');
    closeFd(near);
    closeFd(far);
  },
);

cleanTest(
  t,
  'two polls on one fd and an fd that cannot be polled are errors, not crashes',
  async (t) => {
    const [near, far] = socketPair();
    const one = new FdPoll(near);
    const two = new FdPoll(near);
    one.readable$.subscribe();
    const codes: unknown[] = [];
    two.readable$.subscribe({ error: (error) => codes.push(error.code) });
    const file = openSync('/proc/self/exe', 'r');
    new FdPoll(file).readable$.subscribe({ error: (error) => codes.push(error.code) });
    t.same(codes, ['EEXIST', 'EPERM']);
    t.equal(
      codeOf(() => new FdPoll(-1)),
      'EBADF',
    );
    one.close();
    two.close();
    for (const fd of [near, far, file]) closeFd(fd);
  },
);

cleanTest(t, 'a closed peer is readiness to read, and the read tells', async (t) => {
  const [near, far] = socketPair();
  const poll = new FdPoll(near);
  let bytes: number | undefined;
  poll.readable$.pipe(take(1)).subscribe(() => {
    bytes = receiveBytes(near, new Uint8Array(4));
  });
  closeFd(far);
  t.ok(await eventually(() => bytes !== undefined));
  t.equal(bytes, 0);
  poll.close();
  closeFd(near);
});

cleanTest(
  t,
  'T95 an exception in a subscriber reaches uncaughtException and leaves the poll alive',
  async (t) => {
    const event = new EventFd();
    const caught: unknown[] = [];
    const onUncaught = (error: unknown): void => {
      caught.push(error);
    };
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', onUncaught);
    let emissions = 0;
    event.events$.subscribe(() => {
      emissions += 1;
      if (emissions === 1) throw new Error('from a subscriber');
    });
    event.signal();
    await eventually(() => caught.length > 0);
    event.signal();
    await eventually(() => emissions > 1);
    process.off('uncaughtException', onUncaught);
    for (const listener of others) process.on('uncaughtException', listener);
    t.match(String(caught[0]), /from a subscriber/);
    t.equal(emissions, 2);
    event.close();
  },
);

cleanTest(t, 'promises of a subscriber are settled before the next emission', async (t) => {
  const one = new EventFd();
  const order: string[] = [];
  one.events$.subscribe(() => {
    order.push('emission');
    Promise.resolve()
      .then(() => order.push('promise'))
      .catch(() => {});
    if (order.length < 3) one.signal();
  });
  one.signal();
  await eventually(() => order.length === 4);
  t.same(order, ['emission', 'promise', 'emission', 'promise']);
  one.close();
});

cleanTest(
  t,
  'A12 a poll that was stopped survives a garbage collection and starts again',
  async (t) => {
    const [near, far] = socketPair();
    const poll = new FdPoll(near);
    sendWithFds(far, ONE, []);
    let emissions = 0;
    for (let i = 1; i <= 3; i += 1) {
      poll.readable$.pipe(take(1)).subscribe(() => {
        emissions += 1;
      });
      t.ok(await eventually(() => emissions === i));
      collectGarbage();
      await turns(2);
      collectGarbage();
    }
    poll.close();
    closeFd(near);
    closeFd(far);
  },
);

cleanTest(t, 'a poll that was dropped without close is collected', async (t) => {
  const [near, far] = socketPair();
  (() => new FdPoll(near).readable$.subscribe().unsubscribe())();
  const second = new FdPoll(near);
  t.ok(
    await eventually(() => {
      collectGarbage();
      let refused = false;
      second.readable$
        .subscribe({
          error: () => {
            refused = true;
          },
        })
        .unsubscribe();
      return !refused;
    }),
    'its fd can be polled by another',
  );
  second.close();
  closeFd(near);
  closeFd(far);
});

t.test('workers poll on their own loop, and may be terminated while they do', async (t) => {
  for (let i = 0; i < 3; i += 1) {
    const worker = new Worker(fixture('poll-worker'));
    const count = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    t.equal(count, 3);
    t.equal(await worker.terminate(), 1);
  }
});

cleanTest(t, 'the process may end inside an emission with polls open', async (t) => {
  const child = spawnSync(process.execPath, [fixture('exit-while-polling')], { encoding: 'utf8' });
  t.equal(child.status, 7, child.stderr);
});

cleanTest(t, 'an unreferenced poll lets the process end', async (t) => {
  const script = `import { EventFd, FdPoll } from '${new URL('../src/index.js', import.meta.url)}';
    const event = new EventFd(); new FdPoll(event.fd).unref().readable$.subscribe();`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 5000,
  });
  t.equal(child.status, 0);
});
