/** Network interfaces by name, without a shell. A name that does not exist: `ENODEV`. */
import { VhostError } from '@rxvhost/core';
import { check } from './failure.js';
import { loadNative } from './native.js';

const NO_SUCH_DEVICE = -19;
const IFF_UP = 1;

/** Whether there is an interface of this name in our network namespace. */
export function interfaceExists(ifname: string): boolean {
  const result = loadNative().interfaceIndex(ifname);
  if (result === NO_SUCH_DEVICE) return false;
  check(result, `look for interface "${ifname}"`);
  return true;
}

/** The interface's index, at least 1. Throws `ENODEV`. */
export function interfaceIndex(ifname: string): number {
  return check(loadNative().interfaceIndex(ifname), `ask for the index of "${ifname}"`);
}

/** The name of the interface with this index. Throws `ENODEV`. */
export function interfaceName(index: number): string {
  const names: string[] = [];
  check(loadNative().interfaceName(index, names), `ask for the name of interface ${index}`);
  return names[0] ?? '';
}

/** Whether the interface is administratively up. Throws `ENODEV`. */
export function interfaceIsUp(ifname: string): boolean {
  const flags = check(loadNative().interfaceFlags(ifname), `ask for the flags of "${ifname}"`);
  return (flags & IFF_UP) !== 0;
}

/** `ip link set dev IFNAME up` or `down`. Throws `ENODEV`, `EPERM`. */
export function setInterfaceUp(ifname: string, up = true): void {
  check(loadNative().setInterfaceUp(ifname, up), `set "${ifname}" ${up ? 'up' : 'down'}`);
}

/** Bytes of the largest packet, Ethernet header not counted. Throws `ENODEV`. */
export function interfaceMtu(ifname: string): number {
  return check(loadNative().interfaceMtu(ifname), `ask for the MTU of "${ifname}"`);
}

/** Throws `ENODEV`, `EPERM`, `EINVAL` for what the interface cannot carry. */
export function setInterfaceMtu(ifname: string, bytes: number): void {
  check(loadNative().setInterfaceMtu(ifname, bytes), `set the MTU of "${ifname}" to ${bytes}`);
}

/** The interface's MAC address, 6 bytes. Throws `ENODEV`. */
export function interfaceHardwareAddress(ifname: string): Uint8Array {
  const address = new Uint8Array(6);
  check(
    loadNative().interfaceHardwareAddress(ifname, address),
    `ask for the hardware address of "${ifname}"`,
  );
  return address;
}

/** Throws `EINVAL` for what is not 6 bytes, `ENODEV`, `EPERM`, `EBUSY` (it must be down). */
export function setInterfaceHardwareAddress(ifname: string, address: Uint8Array): void {
  const what = `set the hardware address of "${ifname}"`;
  if (address.length !== 6) {
    throw new VhostError('EINVAL', `${what}: ${address.length} bytes, not 6`);
  }
  check(loadNative().setInterfaceHardwareAddress(ifname, address), what);
}
