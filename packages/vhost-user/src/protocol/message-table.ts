import { VhostError } from '@rxvhost/core';
import { DEVICE_STATE, DEVICE_STATE_CHANNEL, deviceStateRefusal } from './device-state.js';
import { command, type Message, oneUnlessAbsent, present, query, unserved } from './message.js';
import {
  ACCEPTED,
  CONFIG,
  INFLIGHT,
  INFLIGHT_MEMORY,
  IOTLB,
  LOG,
  MAC_ADDRESS,
  MEMORY_TABLE,
  NO_INFLIGHT,
  NOTHING,
  NUMBER,
  SINGLE_REGION,
  U64,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from './payloads.js';

/**
 * Every request that a front-end may send us. This table is the only place that knows a request:
 * decoding, the policy for file descriptors, gating, replies, traces and the front-end client are
 * all driven by it. To serve one more request, add a row.
 */
export const MESSAGES = {
  GET_FEATURES: query({
    id: 1,
    payload: NOTHING,
    reply: U64,
    handle: (backend) => backend.offeredFeatures(),
  }),
  SET_FEATURES: command({
    id: 2,
    payload: U64,
    handle: (backend, features) => backend.setFeatures(features),
  }),
  SET_OWNER: command({ id: 3, payload: NOTHING, handle: (backend) => backend.setOwner() }),
  RESET_OWNER: command({ id: 4, payload: NOTHING, handle: (backend) => backend.resetOwner() }),
  SET_MEM_TABLE: command({
    id: 5,
    payload: MEMORY_TABLE,
    fds: { of: (regions) => regions.length },
    handle: (backend, regions, fds) => backend.setMemoryTable(regions, fds),
  }),
  SET_LOG_BASE: query({
    id: 6,
    payload: LOG,
    reply: ACCEPTED,
    fds: 1,
    gate: 'LOG_SHMFD',
    acknowledgement: true,
    handle: (backend, log, fds) => backend.setLog(log, fds),
  }),
  SET_LOG_FD: command({
    id: 7,
    payload: NOTHING,
    fds: 1,
    gate: 'LOG_SHMFD',
    handle: (backend, _, fds) => backend.setLogEvent(fds),
  }),
  SET_VRING_NUM: command({
    id: 8,
    payload: VRING_STATE,
    handle: (backend, { index, num }) => backend.setVringSize(index, num),
  }),
  SET_VRING_ADDR: command({
    id: 9,
    payload: VRING_ADDRESS,
    handle: (backend, address) => backend.setVringAddress(address),
  }),
  SET_VRING_BASE: command({
    id: 10,
    payload: VRING_STATE,
    handle: (backend, { index, num }) => backend.setVringBase(index, num),
  }),
  GET_VRING_BASE: query({
    id: 11,
    payload: VRING_STATE,
    reply: VRING_STATE,
    handle: (backend, { index }) => {
      const base = backend.stopVring(index);
      if (typeof base === 'number') return { index, num: base };
      return base.then((num) => ({ index, num }));
    },
  }),
  SET_VRING_KICK: command({
    id: 12,
    payload: VRING_FD,
    fds: oneUnlessAbsent(),
    handle: (backend, vring, fds) => backend.setVringKick(vring.index, present(vring, fds)),
  }),
  SET_VRING_CALL: command({
    id: 13,
    payload: VRING_FD,
    fds: oneUnlessAbsent(),
    handle: (backend, vring, fds) => backend.setVringCall(vring.index, present(vring, fds)),
  }),
  SET_VRING_ERR: command({
    id: 14,
    payload: VRING_FD,
    fds: oneUnlessAbsent(),
    handle: (backend, vring, fds) => backend.setVringError(vring.index, present(vring, fds)),
  }),
  GET_PROTOCOL_FEATURES: query({
    id: 15,
    payload: NOTHING,
    reply: U64,
    handle: (backend) => backend.offeredProtocolFeatures(),
  }),
  SET_PROTOCOL_FEATURES: command({
    id: 16,
    payload: U64,
    handle: (backend, features) => backend.setProtocolFeatures(features),
  }),
  GET_QUEUE_NUM: query({
    id: 17,
    payload: NOTHING,
    reply: NUMBER,
    gate: 'MQ',
    handle: (backend) => backend.queueCount(),
  }),
  // Not gated by feature bit 30: QEMU before 7.2 enables rings without having acknowledged it.
  SET_VRING_ENABLE: command({
    id: 18,
    payload: VRING_STATE,
    handle: (backend, { index, num }) => backend.enableVring(index, num),
  }),
  SEND_RARP: command({
    id: 19,
    payload: MAC_ADDRESS,
    gate: 'RARP',
    handle: (backend, mac) => backend.announce(mac),
  }),
  NET_SET_MTU: command({
    id: 20,
    payload: NUMBER,
    gate: 'MTU',
    handle: (backend, mtu) => backend.setMtu(mtu),
  }),
  SET_BACKEND_REQ_FD: command({
    id: 21,
    payload: NOTHING,
    fds: 1,
    gate: 'BACKEND_REQ',
    handle: (backend, _, fds) => backend.setBackendChannel(fds),
  }),
  IOTLB_MSG: query({
    id: 22,
    payload: IOTLB,
    reply: ACCEPTED,
    acknowledgement: true,
    handle: (backend, message) => backend.applyIotlbMessage(message),
  }),
  SET_VRING_ENDIAN: command({
    id: 23,
    payload: VRING_STATE,
    gate: 'CROSS_ENDIAN',
    mustBeHeard: true,
    handle: (backend, { index, num }) => backend.setVringEndian(index, num),
  }),
  GET_CONFIG: query({
    id: 24,
    payload: CONFIG,
    reply: CONFIG,
    gate: 'CONFIG',
    refusal: () => NOTHING.encode(),
    handle: (backend, { offset, flags, bytes }) => ({
      offset,
      flags,
      bytes: backend.readConfig(offset, bytes.length),
    }),
  }),
  SET_CONFIG: command({
    id: 25,
    payload: CONFIG,
    gate: 'CONFIG',
    handle: (backend, config) => backend.writeConfig(config),
  }),
  CREATE_CRYPTO_SESSION: unserved({ id: 26, gate: 'CRYPTO_SESSION', replies: true }),
  CLOSE_CRYPTO_SESSION: unserved({ id: 27, gate: 'CRYPTO_SESSION', replies: false }),
  POSTCOPY_ADVISE: unserved({ id: 28, gate: 'PAGEFAULT', replies: true }),
  POSTCOPY_LISTEN: unserved({ id: 29, gate: 'PAGEFAULT', replies: false }),
  POSTCOPY_END: unserved({ id: 30, gate: 'PAGEFAULT', replies: true }),
  GET_INFLIGHT_FD: query({
    id: 31,
    payload: INFLIGHT,
    reply: INFLIGHT_MEMORY,
    gate: 'INFLIGHT_SHMFD',
    refusal: () => NO_INFLIGHT,
    replyFds: {
      of: ({ fd }) => [fd],
      complete: (memory, fds) => ({ ...memory, fd: fds.take(0) }),
    },
    handle: (backend, wanted) => backend.makeInflight(wanted),
  }),
  SET_INFLIGHT_FD: command({
    id: 32,
    payload: INFLIGHT,
    fds: 1,
    gate: 'INFLIGHT_SHMFD',
    handle: (backend, description, fds) => backend.setInflight(description, fds),
  }),
  RESET_DEVICE: command({
    id: 34,
    payload: NOTHING,
    gate: 'RESET_DEVICE',
    handle: (backend) => backend.resetDevice(),
  }),
  VRING_KICK: command({
    id: 35,
    payload: VRING_STATE,
    gate: 'INBAND_NOTIFICATIONS',
    handle: (backend, { index, num }) => {
      if (num !== 0) throw new VhostError('EINVAL', `VRING_KICK: ${num} is not 0`);
      backend.kickVring(index);
    },
  }),
  GET_MAX_MEM_SLOTS: query({
    id: 36,
    payload: NOTHING,
    reply: NUMBER,
    gate: 'CONFIGURE_MEM_SLOTS',
    handle: (backend) => backend.maxMemorySlots(),
  }),
  ADD_MEM_REG: command({
    id: 37,
    payload: SINGLE_REGION,
    fds: 1,
    gate: 'CONFIGURE_MEM_SLOTS',
    handle: (backend, region, fds) => backend.addMemoryRegion(region, fds),
  }),
  REM_MEM_REG: command({
    id: 38,
    payload: SINGLE_REGION,
    strayFds: 1,
    gate: 'CONFIGURE_MEM_SLOTS',
    handle: (backend, region) => backend.removeMemoryRegion(region),
  }),
  SET_STATUS: command({
    id: 39,
    payload: NUMBER,
    gate: 'STATUS',
    handle: (backend, status) => backend.setStatus(status),
  }),
  GET_STATUS: query({
    id: 40,
    payload: NOTHING,
    reply: NUMBER,
    gate: 'STATUS',
    handle: (backend) => backend.status(),
  }),
  SET_DEVICE_STATE_FD: query({
    id: 42,
    payload: DEVICE_STATE,
    reply: DEVICE_STATE_CHANNEL,
    fds: 1,
    gate: 'DEVICE_STATE',
    refusal: deviceStateRefusal,
    replyFds: {
      of: ({ fd }) => (fd === undefined ? [] : [fd]),
      complete: ({ fd }, fds) => ({ fd: fd === undefined ? undefined : fds.take(0) }),
    },
    handle: (backend, parameters, fds) => backend.transferState(parameters, fds),
  }),
  CHECK_DEVICE_STATE: query({
    id: 43,
    payload: NOTHING,
    reply: ACCEPTED,
    gate: 'DEVICE_STATE',
    acknowledgement: true,
    handle: (backend) => backend.checkState(),
  }),
  GET_SHARED_OBJECT: unserved({ id: 41, gate: 'SHARED_OBJECT', replies: true }),
  GET_SHMEM_CONFIG: unserved({ id: 44, gate: 'SHMEM', replies: true }),
};

/** A request's name as the specification spells it. */
export type RequestName = keyof typeof MESSAGES;
/** What a request carries. */
export type PayloadOf<N extends RequestName> = ReturnType<
  (typeof MESSAGES)[N]['payload']['decode']
>;
/** What a request's own reply carries; void when it has none. */
export type ReplyOf<N extends RequestName> = Awaited<ReturnType<(typeof MESSAGES)[N]['handle']>>;

const NAME_BY_ID = new Map(
  Object.entries(MESSAGES).map(([name, { id }]) => [id, name as RequestName]),
);

/** The request with number `id`, if the table has it. */
export function requestById(
  id: number,
): { readonly name: RequestName; readonly row: Message<unknown, unknown> } | undefined {
  const name = NAME_BY_ID.get(id);
  return name && { name, row: MESSAGES[name] as Message<unknown, unknown> };
}
