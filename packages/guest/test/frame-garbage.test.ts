/** What frames cost the garbage collector: nothing each, a little a batch. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

t.setTimeout(120_000);

const fixture = fileURLToPath(new URL('./fixtures/frame-garbage.js', import.meta.url));
/** Bytes; even a number that does not fit a small integer takes as many in V8. */
const SMALLEST_OBJECT = 16;

for (const rings of ['split', 'packed']) {
  t.test(`T94 no object is made for a frame, on ${rings} rings`, async (t) => {
    const youngGeneration = ['--min-semi-space-size=1', '--max-semi-space-size=1'];
    // Nothing of what the test runner would load into it.
    const options = { env: {} };
    const command = [...youngGeneration, fixture, rings];
    const { stdout } = await promisify(execFile)(process.execPath, command, options);
    const garbage = JSON.parse(stdout) as { sent: number; received: number };
    t.ok(garbage.sent < SMALLEST_OBJECT, `${garbage.sent} bytes for a frame from the guest`);
    t.ok(garbage.received < SMALLEST_OBJECT, `${garbage.received} bytes for a frame to the guest`);
  });
}
