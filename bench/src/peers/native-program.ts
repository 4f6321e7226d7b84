import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const sources = join(root, 'bench', 'native');
const binaries = join(root, '.cache', 'bench');

export type NativeProgram = 'tap-writev' | 'eventfd-pingpong';

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
  if (built === undefined || built.mtimeMs < statSync(source).mtimeMs) {
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

/** The same C client as the driver of a NIC of ours that loops frames back. */
export function guestRoundTrips(options: {
  readonly seconds: number;
  readonly clientCore: number;
  /** Open files: guest memory, the transmit queue's kick, the receive queue's call. */
  readonly fds: readonly [memory: number, kick: number, call: number];
  readonly memorySize: number;
  /** Offsets in memory of the two available rings' indices. */
  readonly transmitIndex: number;
  readonly receiveIndex: number;
}): Promise<RoundTrips> {
  const { seconds, clientCore, fds, memorySize, transmitIndex, receiveIndex } = options;
  const guest = `--guest=3,4,5,${memorySize},${transmitIndex},${receiveIndex}`;
  const cores = `--cores=${clientCore},${clientCore}`;
  const child = spawn(nativeProgram('eventfd-pingpong'), [`--seconds=${seconds}`, cores, guest], {
    stdio: ['ignore', 'pipe', 'inherit', ...fds],
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(output) as RoundTrips);
      else reject(new Error(`eventfd-pingpong ended with ${code}`));
    });
  });
}

/**
 * Frames a second that a loop of `writev` in C puts into a tap.
 *
 * @param namespace network namespace in which the tap is, or is made
 */
export function tapWriteRate(options: {
  readonly namespace: string;
  readonly ifname: string;
  readonly seconds: number;
  readonly core: number;
}): number {
  const { namespace, ifname, seconds, core } = options;
  const inside = ['ip', 'netns', 'exec', namespace, 'taskset', '-c', String(core)];
  const result = runNative('tap-writev', inside, [`--seconds=${seconds}`, `--ifname=${ifname}`]);
  return (result as { framesPerSecond: number }).framesPerSecond;
}

function runNative(
  name: NativeProgram,
  prefix: readonly string[],
  options: readonly string[],
): unknown {
  const [command = '', ...args] = [...prefix, nativeProgram(name), ...options];
  return JSON.parse(execFileSync(command, args, { encoding: 'utf8' }));
}
