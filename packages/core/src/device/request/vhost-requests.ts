import { VhostError } from '../../errors/vhost-error.js';
import type { VhostDevice } from '../vhost-device.js';
import { action, command, query, type RequestTable, vringQuery } from './request.js';
import { io, ior, iow, iowr } from './request-code.js';
import {
  addressOf,
  INT,
  MEMORY_HEADER,
  readMemoryTable,
  U64,
  VRING_ADDRESS,
  VRING_FILE,
  VRING_STATE,
} from './structures.js';
import { userLog } from './user-log.js';

/**
 * The requests that every vhost device serves, with the numbers of `linux/vhost.h`. This table is the
 * only place that knows a request; what it means, and which errors it has, is the business of the
 * device's method of that name. To serve one more, add a row.
 */
export const VHOST_REQUESTS = {
  GET_FEATURES: query({
    code: ior(0x00, U64.size),
    reply: U64,
    handle: ({ device }) => device.offeredFeatures,
  }),
  SET_FEATURES: command({
    code: iow(0x00, U64.size),
    argument: U64,
    handle: ({ device }, features) => device.setFeatures(features),
  }),
  SET_OWNER: action({
    code: io(0x01),
    ownerless: true,
    handle: ({ device }) => device.setOwner(),
  }),
  RESET_OWNER: action({ code: io(0x02), handle: ({ device }) => device.resetOwner() }),
  SET_MEM_TABLE: command({
    code: iow(0x03, MEMORY_HEADER.size),
    argument: readMemoryTable,
    handle: ({ device }, table) => device.setMemoryTable(table),
  }),
  SET_LOG_BASE: command({
    code: iow(0x04, U64.size),
    argument: U64,
    handle: ({ device }, address) => device.setLog(userLog(device.userMemory, addressOf(address))),
  }),
  SET_LOG_FD: command({
    code: iow(0x07, INT.size),
    argument: INT,
    handle: ({ device, port }, fd) => device.setLogEvent(port(fd)),
  }),
  SET_VRING_NUM: command({
    code: iow(0x10, VRING_STATE.size),
    perVring: true,
    argument: VRING_STATE,
    handle: ({ device }, { index, num }) => device.setVringSize(index, num),
  }),
  SET_VRING_ADDR: command({
    code: iow(0x11, VRING_ADDRESS.size),
    perVring: true,
    argument: VRING_ADDRESS,
    handle: ({ device }, { index, flags, descriptors, used, available, log }) =>
      device.setVringAddresses(index, {
        flags,
        descriptorTable: addressOf(descriptors),
        usedRing: addressOf(used),
        availableRing: addressOf(available),
        logAddress: addressOf(log),
      }),
  }),
  SET_VRING_BASE: command({
    code: iow(0x12, VRING_STATE.size),
    perVring: true,
    argument: VRING_STATE,
    handle: ({ device }, { index, num }) => device.setVringBase(index, num),
  }),
  GET_VRING_BASE: vringQuery({
    code: iowr(0x12, VRING_STATE.size),
    structure: VRING_STATE,
    handle: ({ device }, index) => ({ index, num: device.vringBase(index) }),
  }),
  // Rings here are little endian, as in a kernel built without the foreign byte order of old drivers.
  SET_VRING_ENDIAN: command({
    code: iow(0x13, VRING_STATE.size),
    perVring: true,
    argument: VRING_STATE,
    handle: () => notServed('SET_VRING_ENDIAN'),
  }),
  GET_VRING_ENDIAN: vringQuery({
    code: iow(0x14, VRING_STATE.size),
    structure: VRING_STATE,
    handle: () => notServed('GET_VRING_ENDIAN'),
  }),
  SET_VRING_KICK: command({
    code: iow(0x20, VRING_FILE.size),
    perVring: true,
    argument: VRING_FILE,
    handle: ({ device, port }, { index, fd }) => device.setVringKick(index, port(fd)),
  }),
  SET_VRING_CALL: command({
    code: iow(0x21, VRING_FILE.size),
    perVring: true,
    argument: VRING_FILE,
    handle: ({ device, port }, { index, fd }) => device.setVringCall(index, port(fd)),
  }),
  SET_VRING_ERR: command({
    code: iow(0x22, VRING_FILE.size),
    perVring: true,
    argument: VRING_FILE,
    handle: ({ device, port }, { index, fd }) => device.setVringError(index, port(fd)),
  }),
  SET_VRING_BUSYLOOP_TIMEOUT: command({
    code: iow(0x23, VRING_STATE.size),
    perVring: true,
    argument: VRING_STATE,
    handle: ({ device }, { index, num }) => device.setVringBusyPoll(index, num),
  }),
  // The header numbers it as if the argument were only read.
  GET_VRING_BUSYLOOP_TIMEOUT: vringQuery({
    code: iow(0x24, VRING_STATE.size),
    structure: VRING_STATE,
    handle: ({ device }, index) => ({ index, num: device.vringBusyPoll(index) }),
  }),
  SET_BACKEND_FEATURES: command({
    code: iow(0x25, U64.size),
    argument: U64,
    handle: ({ device }, features) => device.setBackendFeatures(features),
  }),
  GET_BACKEND_FEATURES: query({
    code: ior(0x26, U64.size),
    reply: U64,
    handle: ({ device }) => device.offeredBackendFeatures,
  }),
} satisfies RequestTable<VhostDevice>;

function notServed(name: string): never {
  throw new VhostError('ENOIOCTLCMD', `${name} is not served`);
}
