// `npm run bench`: sets up, then runs the benchmarks; arguments are passed on.
import { main, run } from './lib/run.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup({ tests: false });
  return run(process.execPath, ['bench/dist/src/main.js', ...process.argv.slice(2)]);
});
