// Makes a clone ready to run: dependencies, native addon, compiled TypeScript and, for tests, tap's
// own build. Every step is skipped when nothing that it depends on has changed. Needs only Node.
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  buildOwnAddon,
  buildRawSocket,
  isOwnAddonFresh,
  isRawSocketFresh,
  npmEnvironment,
} from './lib/native-build.mjs';
import { main, root, runQuietly, StepFailed } from './lib/run.mjs';
import { filesBelow, hashOf, isFresh, writeStamp } from './lib/stamp.mjs';

const at = (...path) => join(root, ...path);
const oldestNode = [20, 19];

/** @param {{ tests?: boolean }} [options] `tests: false` leaves out what only tests need. */
export async function setup({ tests = true } = {}) {
  checkNode();
  await installDependencies();
  await buildAddons({ tests });
  removeStaleOutput();
  await compile();
  if (tests) await buildTap();
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return;
  throw new StepFailed(
    `Node ${process.versions.node} is too old: rxvhost needs ${oldestNode.join('.')} or newer`,
  );
}

async function installDependencies() {
  const lock = at('package-lock.json');
  const stamp = at('node_modules', '.rxvhost-lock');
  const hash = hashOf([lock]);
  if (isFresh(stamp, hash)) return;
  if (!installedByHand(lock)) {
    const install = ['ci', '--prefer-offline', '--no-audit', '--no-fund'];
    await step('installing dependencies', async () =>
      runQuietly('npm', install, await npmEnvironment()),
    );
  }
  writeStamp(stamp, hash);
}

/** npm writes this file at the end of an installation: newer than the lock means `npm ci` ran. */
function installedByHand(lock) {
  const installed = statSync(at('node_modules', '.package-lock.json'), { throwIfNoEntry: false });
  return installed !== undefined && installed.mtimeMs >= statSync(lock).mtimeMs;
}

async function buildAddons({ tests }) {
  if (!isOwnAddonFresh()) await step('building the native addon', buildOwnAddon);
  if (tests && !(await isRawSocketFresh())) {
    await step(`building raw-socket for Node ${process.versions.node}`, buildRawSocket);
  }
}

/** The compiler leaves behind what it made from a source that is gone, and tests would run it. */
function removeStaleOutput() {
  for (const project of projects()) {
    const output = join(project, 'dist');
    for (const file of filesBelow(output)) {
      const source = join(
        project,
        relative(output, file).replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts'),
      );
      if (source.endsWith('.ts') && !existsSync(source)) rmSync(file);
    }
  }
}

function projects() {
  return ['packages', 'examples', '']
    .map((folder) => at(folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((folder) => existsSync(join(folder, 'tsconfig.json')));
}

async function compile() {
  await step('compiling', () => runQuietly('tsc', ['-b']), 1000);
}

async function buildTap() {
  const stamp = at('.tap', '.rxvhost-build');
  const hash = hashOf([at('.taprc'), at('node_modules', '.rxvhost-lock')]);
  if (isFresh(stamp, hash)) return;
  await step('preparing tap', () => runQuietly('tap', ['build']));
  writeStamp(stamp, hash);
}

/** Says what a step was and how long it took, unless it took less than `silentBelow` ms. */
async function step(what, body, silentBelow = 0) {
  const start = performance.now();
  await body();
  const milliseconds = performance.now() - start;
  if (milliseconds < silentBelow) return;
  console.error(`${what}: ${(milliseconds / 1000).toFixed(1)} s`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(() => setup());
