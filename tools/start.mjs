// `npm start`: sets up, then runs the demo, two guests written in TypeScript behind a NIC each.
import { main, run } from './lib/run.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup({ tests: false });
  const demo = 'examples/in-process-vmm/dist/src/main.js';
  return run(process.execPath, ['--enable-source-maps', demo, ...process.argv.slice(2)]);
});
