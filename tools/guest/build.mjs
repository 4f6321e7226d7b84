// Builds the Linux guest of the tests with QEMU in `.cache/guest`: Debian's cloud kernel as it is,
// and an initramfs of busybox, a few network programs with their libraries, the virtio drivers, and
// vsock-tool, which is compiled here.
// Nothing is installed: the kernel's package is downloaded and unpacked. The image is made again
// only when this folder or one of the programs changes; the kernel then stays the one in the cache.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main, root, runQuietly, StepFailed } from '../lib/run.mjs';
import { hashOf, isFresh, writeStamp } from '../lib/stamp.mjs';
import { CpioArchive } from './cpio.mjs';

const source = fileURLToPath(new URL('.', import.meta.url));
const cache = join(root, '.cache', 'guest');
const kernelPackage = 'linux-image-cloud-amd64';
const programs = ['iperf3', 'ethtool', 'socat'];
const drivers = ['virtio_pci', 'virtio_net', '8021q', 'vmw_vsock_virtio_transport'];

await main(async () => {
  if (process.arch !== 'x64') throw new StepFailed('the guest image is made on x86-64 only');
  const busybox = which('busybox');
  const files = [busybox, ...programs.map(which)].flatMap(withLibraries);
  const hash = hashOf([source, ...files]);
  const stamp = join(cache, 'stamp');
  if (isFresh(stamp, hash)) return;

  rmSync(stamp, { force: true });
  mkdirSync(cache, { recursive: true });
  const tool = await compileTool();
  const kernel = join(cache, 'kernel');
  await unpackKernel(kernel);
  const version = onlyEntry(join(kernel, 'lib', 'modules'));
  write('vmlinuz', readFileSync(join(kernel, 'boot', `vmlinuz-${version}`)));
  write('initramfs', initramfs(busybox, tool, files, join(kernel, 'lib', 'modules', version)));
  writeStamp(stamp, hash);
  console.log(`guest image with Linux ${version} is ready`);
});

/** Written in one step, so that a killed run leaves no half of a file behind. */
function write(name, contents) {
  writeFileSync(join(cache, `${name}.new`), contents);
  renameSync(join(cache, `${name}.new`), join(cache, name));
}

/** Downloads and unpacks the kernel that the meta package depends on, unless that was done before. */
async function unpackKernel(folder) {
  if (isFresh(join(folder, 'whole'), kernelPackage)) return;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const download = `dependency=$(apt-cache depends ${kernelPackage} | sed -n 's/.*Depends: //p' | head -n 1)
    test -n "$dependency" && cd "$0" && apt-get download -qq -o Acquire::Retries=3 "$dependency"`;
  const fetch = ['-c', download, folder];
  await runQuietly('/bin/sh', fetch).catch(async () => {
    await runQuietly('apt-get', ['update']); // no or outdated package lists
    await runQuietly('/bin/sh', fetch);
  });
  const archive = join(folder, onlyEntry(folder));
  await runQuietly('dpkg', ['-x', archive, folder]);
  rmSync(archive);
  writeStamp(join(folder, 'whole'), kernelPackage);
}

/** Static: the guest has only the libraries of the programs above. */
async function compileTool() {
  const program = join(cache, 'vsock-tool');
  const folder = join(source, 'vsock-tool');
  const files = readdirSync(folder).filter((name) => name.endsWith('.c'));
  const flags = ['-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-static', '-pthread', '-s'];
  await runQuietly('cc', [...flags, '-o', program, ...files.map((name) => join(folder, name))]);
  return program;
}

function initramfs(busybox, tool, files, modules) {
  const archive = new CpioArchive();
  archive.file('init', readFileSync(join(source, 'init.sh')), 0o755);
  archive.characterDevice('dev/console', 5, 1);
  archive.file('bin/busybox', readFileSync(busybox), 0o755);
  archive.link('bin/sh', 'busybox');
  archive.file('bin/vsock-tool', readFileSync(tool), 0o755);
  for (const file of files) archive.file(file.slice(1), readFileSync(file), 0o755);
  const order = inOrder(modules);
  for (const path of order) archive.file(`lib/modules/${basename(path)}`, readFileSync(path));
  archive.file(
    'lib/modules/order',
    Buffer.from(order.map((path) => `${basename(path)}\n`).join('')),
  );
  return archive.finish();
}

/** The drivers' files, each after those that it depends on, as its `.modinfo` section names them. */
function inOrder(modules) {
  const paths = new Map(
    readdirSync(join(modules, 'kernel'), { recursive: true })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [moduleName(path), join(modules, 'kernel', path)]),
  );
  const order = new Set();
  const add = (name) => {
    const path = paths.get(name);
    if (path === undefined) return; // built into the kernel
    const [, depends = ''] = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1')) ?? [];
    depends.split(',').filter(Boolean).forEach(add);
    order.add(path);
  };
  drivers.forEach(add);
  return [...order];
}

/** The kernel takes `-` and `_` in a module's name for the same. */
function moduleName(path) {
  return basename(path, '.ko').replaceAll('-', '_');
}

/** A program and the shared libraries that the dynamic linker gives it. */
function withLibraries(program) {
  const libraries = execFileSync('/bin/sh', ['-c', 'ldd "$0" 2>/dev/null || true', program], {
    encoding: 'utf8',
  });
  return [program, ...Array.from(libraries.matchAll(/(\/\S+) \(0x/g), ([, path]) => path)];
}

function which(program) {
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':');
  for (const folder of path) {
    const file = join(folder, program);
    if (folder !== '' && existsSync(file)) return file;
  }
  throw new StepFailed(`${program} is not installed: run npm run setup:peers as root`);
}

function onlyEntry(folder) {
  const [entry, ...others] = readdirSync(folder);
  if (entry === undefined || others.length > 0)
    throw new StepFailed(`unexpected files in ${folder}`);
  return entry;
}
