import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PlainGuest } from './plain-guest.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const sources = join(root, 'bench', 'native');
const sharedHeader = join(sources, 'packed-ring.h');
const binaries = join(root, '.cache', 'bench');

export type NativeProgram = 'tap-writev' | 'packet-loop' | 'ring-drain' | 'eventfd-pingpong';

/**
 * Compiles a C program of `bench/native` with `cc -O2`, unless that is done already.
 *
 * @returns the path of the binary
 * @throws Error when there is no C compiler or it fails
 */
export function nativeProgram(name: NativeProgram): string {
  const source = join(sources, `${name}.c`);
  const binary = join(binaries, name);
  const built = statSync(binary, { throwIfNoEntry: false });
  const changed = Math.max(...[source, sharedHeader].map((path) => statSync(path).mtimeMs));
  if (built === undefined || built.mtimeMs < changed) {
    mkdirSync(binaries, { recursive: true });
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-pthread', '-o', binary, source]);
  }
  return binary;
}

/** Round trips of `eventfd-pingpong`; times are nanoseconds. */
export interface RoundTrips {
  readonly roundTrips: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Two threads in C that wake one another through eventfds and epoll. */
export function eventfdRoundTrips(options: {
  readonly seconds: number;
  readonly serverCore: number;
  readonly clientCore: number;
}): RoundTrips {
  const { seconds, serverCore, clientCore } = options;
  const cores = `--cores=${serverCore},${clientCore}`;
  return runNative('eventfd-pingpong', [], [`--seconds=${seconds}`, cores]) as RoundTrips;
}

/** A guest whose driver is a program in C. */
export interface GuestLoopOptions {
  readonly guest: PlainGuest;
  readonly seconds: number;
  readonly core: number;
}

/** The same C client as the driver of a NIC of ours that loops frames back. */
export async function guestRoundTrips({
  guest,
  seconds,
  core,
}: GuestLoopOptions): Promise<RoundTrips> {
  const { memory, memorySize, size, packed, offered, receive, transmit } = guest;
  const rings = packed
    ? `${transmit.descriptors},${receive.descriptors},${size},${offered}`
    : `${transmit.available + 2},${receive.available + 2}`;
  const options = [`--cores=${core},${core}`, `--guest=3,4,5,${memorySize},${rings}`];
  const fds = [memory, transmit.kick, receive.call];
  return (await runWithFds('eventfd-pingpong', seconds, options, fds)) as RoundTrips;
}

/** Frames a second that a guest receives which does nothing else, and little for that. */
export async function guestReceiveRate(options: GuestLoopOptions): Promise<number> {
  const { guest, seconds, core } = options;
  const { memory, memorySize, size, packed, receive } = guest;
  const areas = `${size},${receive.available},${receive.used}`;
  const rings = packed ? `${areas},${receive.descriptors}` : areas;
  const fds = [memory, receive.kick];
  const args = [`--core=${core}`, `--guest=3,4,${memorySize},${rings}`];
  return rateIn(await runWithFds('ring-drain', seconds, args, fds));
}

/** The files become fds 3 and on. */
function runWithFds(
  name: NativeProgram,
  seconds: number,
  options: readonly string[],
  fds: readonly number[],
): Promise<unknown> {
  const child = spawn(nativeProgram(name), [`--seconds=${seconds}`, ...options], {
    stdio: ['ignore', 'pipe', 'inherit', ...fds],
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(output));
      else reject(new Error(`${name} ended with ${code}`));
    });
  });
}

/** Where a loop in C runs, and for how long. */
export interface LoopOptions {
  /** Network namespace in which the interface is, or is made. */
  readonly namespace: string;
  readonly ifname: string;
  readonly seconds: number;
  readonly core: number;
}

/** Frames a second that a loop of `writev` in C puts into a tap. */
export function tapWriteRate(options: LoopOptions): number {
  return loopRate('tap-writev', options);
}

/** Frames a second that a loop of `sendmmsg` in C sends, which a thread on another processor writes. */
export function packetSendRate(options: LoopOptions & { readonly writerCore: number }): number {
  return loopRate('packet-loop', options, [`--writer=${options.writerCore}`]);
}

/** Frames a second that a loop of `recvmmsg` in C receives from an interface. */
export function packetReceiveRate(options: LoopOptions): number {
  return loopRate('packet-loop', options, ['--receive']);
}

/** Sends out through an interface all that can be sent, until it is stopped. */
export function startPacketSender({ namespace, ifname, seconds, core }: LoopOptions): ChildProcess {
  const [command = '', ...inside] = insideOf(namespace, core);
  const options = [`--seconds=${seconds}`, `--ifname=${ifname}`];
  return spawn(command, [...inside, nativeProgram('packet-loop'), ...options], { stdio: 'ignore' });
}

function loopRate(
  name: NativeProgram,
  { namespace, ifname, seconds, core }: LoopOptions,
  more: readonly string[] = [],
): number {
  const options = [`--seconds=${seconds}`, `--ifname=${ifname}`, ...more];
  return rateIn(runNative(name, insideOf(namespace, core), options));
}

const rateIn = (result: unknown) => (result as { framesPerSecond: number }).framesPerSecond;

function insideOf(namespace: string, core: number): string[] {
  return ['ip', 'netns', 'exec', namespace, 'taskset', '-c', String(core)];
}

function runNative(
  name: NativeProgram,
  prefix: readonly string[],
  options: readonly string[],
): unknown {
  const [command = '', ...args] = [...prefix, nativeProgram(name), ...options];
  return JSON.parse(execFileSync(command, args, { encoding: 'utf8' }));
}
