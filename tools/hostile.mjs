// `npm run test:hostile`: sets up, then lets hostile guests and front-ends try for a quarter of an hour
// what `npm test` lets them try for seconds. Numbers and seeds may be set from outside, as the tests say.
import { main, run } from './lib/run.mjs';
import { setup } from './setup.mjs';

const TESTS = [
  'packages/guest/dist/test/hostile.test.js',
  'packages/guest/dist/test/hostile-control.test.js',
  'packages/vhost-user/dist/test/random-messages.test.js',
  'packages/guest/dist/test/hostile-packed.test.js',
];

await main(async () => {
  await setup({ tests: true });
  process.env.RXVHOST_HOSTILE_STATES ??= '1000000';
  process.env.RXVHOST_RANDOM_SEQUENCES ??= '50000';
  let failed = 0;
  for (const test of TESTS) {
    const status = await run(process.execPath, [test]);
    if (status !== 0) failed = status;
  }
  return failed;
});
