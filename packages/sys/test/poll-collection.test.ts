import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { closeFd, FdPoll, sendWithFds, socketPair } from '@rxvhost/sys';
import { take } from 'rxjs';
import t from 'tap';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

t.test('A12 a poll that was stopped survives a garbage collection and starts again', async (t) => {
  const [near, far] = socketPair();
  const poll = new FdPoll(near);
  t.teardown(() => {
    poll.close();
    closeFd(near);
    closeFd(far);
  });
  poll.readable$.subscribe().unsubscribe();
  for (let collection = 0; collection < 3; collection += 1) {
    await turn();
    collectGarbage();
  }
  let emissions = 0;
  poll.readable$.pipe(take(1)).subscribe(() => {
    emissions += 1;
  });
  sendWithFds(far, Uint8Array.of(1), []);
  for (let turns = 0; turns < 10; turns += 1) await turn();
  t.equal(emissions, 1);
});
