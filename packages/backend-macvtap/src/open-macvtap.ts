import type { TapSocket } from '@rxvhost/backend-tap';
import { VhostError } from '@rxvhost/core';
import { checkInterfaceName, closeFd, interfaceIsUp, setInterfaceUp } from '@rxvhost/sys';
import { adoptMacvtap } from './adopt-macvtap.js';
import { openMacvtapDevice } from './macvtap-device.js';

/** Which macvtap to open, and how. */
export interface MacvtapOptions {
  /** Interface name, 1 to 15 bytes. The interface exists already. */
  readonly ifname: string;
  /** Bring the interface up, if it is down; `true` by default. */
  readonly up?: boolean;
}

/**
 * Opens the macvtap `ifname` and brings it up. Its guest should have the interface's own MAC address:
 * frames for others do not come, except in passthru mode. The device node is `/dev/tapN`; where there
 * is none, one is made for as long as opening takes, which needs CAP_MKNOD.
 *
 * Throws `EINVAL` for a name that no interface can have or that belongs to something else than a
 * macvtap, `ENODEV` when there is none, `EPERM` or `EACCES` without the permission, `EBUSY` while
 * another process has it. Messages say what to do.
 */
export function openMacvtap({ ifname, up = true }: MacvtapOptions): TapSocket {
  checkInterfaceName(ifname);
  let fd: number | undefined;
  try {
    fd = openMacvtapDevice(ifname);
    if (up && !interfaceIsUp(ifname)) setInterfaceUp(ifname);
    return adoptMacvtap(fd);
  } catch (cause) {
    if (fd !== undefined) closeFd(fd);
    throw cause instanceof VhostError ? explain(cause, ifname) : cause;
  }
}

/** The same error with what to do about it. */
function explain(cause: VhostError, ifname: string): VhostError {
  const tell = (message: string) => new VhostError(cause.code, message, { cause });
  const make = `sudo ip link add link eth0 name ${ifname} type macvtap mode bridge`;
  switch (cause.code) {
    case 'ENODEV':
      return cause.message.includes('/sys')
        ? cause
        : tell(`there is no interface ${ifname}: make it, for example with ${make}`);
    case 'EINVAL':
      return tell(`interface ${ifname} exists and is no macvtap: name another one`);
    case 'EPERM':
    case 'EACCES':
      return tell(
        `${cause.message.replace(/ \(\w+\)$/, '')}: run as root, or let udev give it to you`,
      );
    case 'EBUSY':
      return tell(`macvtap ${ifname} is in use by another process: stop that one, or name another`);
    default:
      return tell(`macvtap ${ifname} cannot be opened`);
  }
}
