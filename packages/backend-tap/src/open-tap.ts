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
import { TapOffloads } from './tap-offloads.js';
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

/** Which tap to open, with how many queues. */
export interface TapQueuesOptions extends TapOptions {
  /** 1 … 256; the kernel spreads flows over them. */
  readonly queues: number;
}

/** What the kernel gives one tap (`MAX_TAP_QUEUES`). */
const MAX_QUEUES = 256;

/**
 * Opens the tap `ifname`, made if there is none, and brings it up. One that was made here goes on
 * `close` (the kernel sees to it, whatever becomes of the process); one that existed stays.
 *
 * Throws `EINVAL` for a name that no interface can have or that belongs to something else than a
 * tap or for an MTU out of range, `EPERM` or `EACCES` without the permission, `EBUSY` while another process has the tap,
 * `ENOENT`, `ENODEV` or `ENXIO` without the tun driver. Messages say what to do.
 */
export function openTap(options: TapOptions): TapSocket {
  const [tap] = open(options, 1, attachOne);
  return tap;
}

/**
 * Opens the tap as {@link openTap} does, with several queues: one socket for each, for as many queue
 * pairs of a NIC. A NIC steers frames only to the queues of the pairs that its guest uses. A tap
 * that existed must have been made for several queues (`ip tuntap add … multi_queue`).
 */
export function openTapQueues(options: TapQueuesOptions): [TapSocket, ...TapSocket[]] {
  const { queues } = options;
  if (!Number.isInteger(queues) || queues < 1 || queues > MAX_QUEUES) {
    throw new VhostError('EINVAL', `a tap has 1 … ${MAX_QUEUES} queues, not ${queues}`);
  }
  return open(options, queues, queues === 1 ? attachOne : attachOneOfMany);
}

/** An open queue of a tap. */
interface Queue {
  readonly fd: number;
  readonly multiQueue: boolean;
}

function open(
  { ifname, up = true, mtu }: TapOptions,
  count: number,
  attach: (ifname: string, existed: boolean) => Queue,
): [TapSocket, ...TapSocket[]] {
  checkInterfaceName(ifname);
  const existed = interfaceExists(ifname);
  const queues: [Queue, ...Queue[]] = [attach(ifname, existed)];
  const sockets: TapSocket[] = [];
  try {
    while (queues.length < count) queues.push(attach(ifname, existed));
    if (mtu !== undefined && !existed) setInterfaceMtu(ifname, mtu);
    if (up && !interfaceIsUp(ifname)) bringUp(ifname);
    const offloads = new TapOffloads(queues[0].fd);
    const describe = (queue: Queue) => ({
      ...queue,
      ...{ ifname, vnetHeader: true, temporary: !existed, offloads },
    });
    const [first, ...others] = queues;
    const firstSocket = new TapSocket(describe(first));
    sockets.push(firstSocket);
    for (const queue of others) sockets.push(new TapSocket(describe(queue)));
    return [firstSocket, ...sockets.slice(1)];
  } catch (error) {
    for (const socket of sockets) socket.close();
    for (const { fd } of queues.slice(sockets.length)) closeFd(fd);
    throw error;
  }
}

function attachOne(ifname: string, existed: boolean): Queue {
  try {
    return { fd: tunOpen(ifname, { vnetHeader: true }).fd, multiQueue: false };
  } catch (error) {
    if (!(error instanceof VhostError)) throw error;
    // A tap that was made for several queues does not open as one without.
    const multiQueue = existed && error.code === 'EINVAL' ? tryOneOfMany(ifname) : undefined;
    if (multiQueue !== undefined) return multiQueue;
    throw explain(error, ifname, existed);
  }
}

function attachOneOfMany(ifname: string, existed: boolean): Queue {
  try {
    return { fd: tunOpen(ifname, { vnetHeader: true, multiQueue: true }).fd, multiQueue: true };
  } catch (error) {
    if (!(error instanceof VhostError)) throw error;
    if (existed && error.code === 'EINVAL') {
      throw new VhostError(
        'EINVAL',
        `interface ${ifname} exists and is no tap for several queues: ` +
          `make it with sudo ip tuntap add dev ${ifname} mode tap multi_queue, or name another one`,
        { cause: error },
      );
    }
    throw explain(error, ifname, existed);
  }
}

function tryOneOfMany(ifname: string): Queue | undefined {
  try {
    return { fd: tunOpen(ifname, { vnetHeader: true, multiQueue: true }).fd, multiQueue: true };
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
