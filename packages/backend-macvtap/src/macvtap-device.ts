/**
 * A primer on macvtap. It is an interface on top of another one, with a MAC address of its own, whose
 * frames end in a character device instead of the host's network stack. Unlike a tap, each interface
 * has a device node of its own, `/dev/tapN` with N the interface's index; opening it makes one queue.
 * The device's numbers stand in sysfs. Node names are shared by all network namespaces while indices
 * are not, so a node of the right name may be another interface's: the numbers decide.
 */
import { readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { VhostError } from '@rxvhost/core';
import { closeFd, fileStatus, interfaceIndex, makeCharacterDevice, openDevice } from '@rxvhost/sys';

/** What opening a node says that is not there, or that belongs to no device. */
const ABSENT: readonly unknown[] = ['ENOENT', 'ENXIO'];

/** Numbers of a character device. */
export interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

/** Opens the device of a macvtap; the caller owns the fd. Throws what {@link openMacvtap} says. */
export function openMacvtapDevice(ifname: string): number {
  const index = interfaceIndex(ifname);
  const numbers = deviceNumbers(ifname, index);
  return openNode(`/dev/tap${index}`, numbers) ?? openOwnNode(numbers);
}

/** The majors of macvtap and its sibling ipvtap: they are given out when the drivers are loaded. */
export function macvtapMajors(): readonly number[] {
  const lines = readFileSync('/proc/devices', 'utf8').matchAll(/^ *(\d+) (?:mac|ip)vtap$/gm);
  return Array.from(lines, ([, major]) => Number(major));
}

function deviceNumbers(ifname: string, index: number): DeviceNumbers {
  const folder = `/sys/class/net/${ifname}`;
  if (read(`${folder}/ifindex`) !== String(index)) {
    throw new VhostError(
      'ENODEV',
      `/sys shows another network namespace than the one of ${ifname}: mount sysfs again in this one`,
    );
  }
  const name = readdirSync(folder).find((entry) => /^tap\d+$/.test(entry));
  const [major, minor] = read(`${folder}/${name}/dev`)?.split(':').map(Number) ?? [];
  if (name === undefined || major === undefined || minor === undefined) {
    throw new VhostError('EINVAL', `interface ${ifname} is no macvtap`);
  }
  return { major, minor };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Opens a node if it is there and has these numbers. */
function openNode(path: string, { major, minor }: DeviceNumbers): number | undefined {
  let fd: number;
  try {
    fd = openDevice(path);
  } catch (error) {
    if (error instanceof VhostError && ABSENT.includes(error.code)) return undefined;
    throw error;
  }
  const status = fileStatus(fd);
  if (status.kind === 'character' && status.major === major && status.minor === minor) return fd;
  closeFd(fd);
  return undefined;
}

/** Opens through a node that lives no longer than this takes. */
function openOwnNode(numbers: DeviceNumbers): number {
  const path = `/dev/rxvhost-${process.pid}-${numbers.major}-${numbers.minor}`;
  makeCharacterDevice(path, numbers.major, numbers.minor);
  try {
    const fd = openNode(path, numbers);
    if (fd !== undefined) return fd;
    throw new VhostError('ENXIO', `device ${numbers.major}:${numbers.minor} has no driver`);
  } finally {
    unlinkSync(path);
  }
}
