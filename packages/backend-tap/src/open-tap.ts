import { VhostError } from '@rxvhost/core';
import {
  closeFd,
  interfaceExists,
  interfaceIsUp,
  setInterfaceMtu,
  setInterfaceUp,
  openTap as tunOpen,
} from '@rxvhost/sys';
import { checkInterfaceName } from './interface-name.js';
import { TapSocket } from './tap-socket.js';

/** Which tap to open, and how. */
export interface TapOptions {
  /** Interface name, 1 to 15 bytes. */
  readonly ifname: string;
  /** Bring the interface up, if it is down; `true` by default. */
  readonly up?: boolean;
  /** MTU for an interface that is made here, in bytes; one that exists keeps its own. */
  readonly mtu?: number;
}

/**
 * Opens the tap `ifname`, made if there is none, and brings it up. One that was made here goes on
 * `close` (the kernel sees to it, whatever becomes of the process); one that existed stays.
 *
 * Throws `EINVAL` for a name that no interface can have or that belongs to something else than a
 * tap or for an MTU out of range, `EPERM` or `EACCES` without the permission, `EBUSY` while another process has the tap,
 * `ENOENT`, `ENODEV` or `ENXIO` without the tun driver. Messages say what to do.
 */
export function openTap({ ifname, up = true, mtu }: TapOptions): TapSocket {
  checkInterfaceName(ifname);
  const existed = interfaceExists(ifname);
  const fd = attach(ifname, existed);
  try {
    if (mtu !== undefined && !existed) setInterfaceMtu(ifname, mtu);
    if (up && !interfaceIsUp(ifname)) bringUp(ifname);
    return new TapSocket({ fd, ifname, vnetHeader: true, temporary: !existed });
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function attach(ifname: string, existed: boolean): number {
  try {
    return tunOpen(ifname, { vnetHeader: true }).fd;
  } catch (error) {
    if (!(error instanceof VhostError)) throw error;
    // A tap that was made for several queues does not open as one without.
    const multiQueue = existed && error.code === 'EINVAL' ? openOneOfMany(ifname) : undefined;
    if (multiQueue !== undefined) return multiQueue;
    throw explain(error, ifname, existed);
  }
}

function openOneOfMany(ifname: string): number | undefined {
  try {
    return tunOpen(ifname, { vnetHeader: true, multiQueue: true }).fd;
  } catch (error) {
    if (error instanceof VhostError && error.code === 'EINVAL') return undefined;
    throw error;
  }
}

function bringUp(ifname: string): void {
  try {
    setInterfaceUp(ifname);
  } catch (cause) {
    if (!(cause instanceof VhostError)) throw cause;
    const message = `tap ${ifname} is down and may not be brought up: run sudo ip link set ${ifname} up`;
    throw new VhostError(cause.code, message, { cause });
  }
}

/** The same error with what to do about it. */
function explain(cause: VhostError, ifname: string, existed: boolean): VhostError {
  const tell = (message: string) => new VhostError(cause.code, message, { cause });
  const make = `sudo ip tuntap add dev ${ifname} mode tap user $USER && sudo ip link set ${ifname} up`;
  switch (cause.code) {
    case 'EPERM':
    case 'EACCES':
      return existed
        ? tell(`tap ${ifname} belongs to another user: run as that user, or name another tap`)
        : tell(`there is no tap ${ifname}, and making one needs CAP_NET_ADMIN: run ${make}`);
    case 'EBUSY':
      return tell(`tap ${ifname} is in use by another process: stop that one, or name another tap`);
    case 'EINVAL':
      return tell(`interface ${ifname} exists and is no tap: name another one`);
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return tell('there is no /dev/net/tun: load the driver, sudo modprobe tun');
    default:
      return tell(`tap ${ifname} cannot be opened`);
  }
}
