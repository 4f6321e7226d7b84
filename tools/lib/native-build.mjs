// Native addons: ours, which loads in every Node, and the raw-socket library, which is built for one
// version of Node (its V8) and so has to be built anew when another one runs the tests.
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, run, runQuietly, StepFailed } from './run.mjs';
import { filesBelow } from './stamp.mjs';

const at = (...path) => join(root, ...path);

/** `npm ci` keeps an addon that loads, however old it is: so its sources' times decide here. */
export function isOwnAddonFresh() {
  const folder = at('packages', 'sys');
  const sources = [join(folder, 'native'), join(folder, 'binding.gyp')].flatMap(filesBelow);
  const built = statSync(join(folder, 'build', 'Release', 'sys.node'), { throwIfNoEntry: false });
  return built !== undefined && sources.every((file) => statSync(file).mtimeMs <= built.mtimeMs);
}

export async function buildOwnAddon() {
  rmSync(at('packages', 'sys', 'build'), { recursive: true, force: true });
  await runQuietly(
    'npm',
    ['run', 'install', '--workspace', '@rxvhost/sys'],
    await npmEnvironment(),
  );
}

/** True also where the optional library is not installed: there is nothing to build then. */
export async function isRawSocketFresh() {
  if (!existsSync(at('node_modules', 'raw-socket'))) return true;
  return (await run(process.execPath, ['-e', 'require("raw-socket")'], { stdio: 'ignore' })) === 0;
}

/** Without the library its tests are skipped, which is no reason to skip the others. */
export async function buildRawSocket() {
  try {
    await runQuietly('npm', ['rebuild', 'raw-socket'], await npmEnvironment());
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    console.error('raw-socket does not build here: tests of IP sockets are skipped');
  }
}

/** For npm where it may build addons. Without headers node-gyp gets them itself, from nodejs.org. */
export async function npmEnvironment() {
  const headers = localHeaders() ?? (await fetchHeaders()) ?? '';
  return { npm_config_loglevel: 'error', npm_config_nodedir: headers };
}

/** The headers that somebody named, or that came with this Node, if they are this Node's. */
function localHeaders() {
  const named = process.env.npm_config_nodedir ?? '';
  return [named, dirname(dirname(process.execPath))].find(holdsHeaders);
}

function holdsHeaders(prefix) {
  const file = join(prefix, 'include', 'node', 'node_version.h');
  if (prefix === '' || !existsSync(file)) return false;
  const version = /#define NODE_MODULE_VERSION (\d+)/.exec(readFileSync(file, 'utf8'));
  return version?.[1] === process.versions.modules;
}

/** The headers from npm's registry, where `npx --package=node@24` takes Node itself from. */
async function fetchHeaders() {
  const name = `node-${process.platform}-${process.arch}`;
  const folder = at('.cache', 'node-headers', process.version);
  if (holdsHeaders(folder)) return folder;
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, `${name}-${process.versions.node}.tgz`);
  const pack = ['pack', '--silent', `--pack-destination=${folder}`];
  try {
    await runQuietly('npm', [...pack, `${name}@${process.versions.node}`]);
    const only = ['--strip-components=1', 'package/include'];
    await runQuietly('tar', ['-xzf', archive, '-C', folder, ...only]);
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
  } finally {
    rmSync(archive, { force: true });
  }
  return holdsHeaders(folder) ? folder : undefined;
}
