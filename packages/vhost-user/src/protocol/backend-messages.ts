import { IOTLB, NOTHING, VRING_STATE } from './payloads.js';

/**
 * What a back-end asks of its front-end, over the channel that SET_BACKEND_REQ_FD gave it: messages
 * of the same form the other way round, with numbers of their own. Of the specification's list only
 * those are here that a device has reason to send.
 */
export const BACKEND_MESSAGES = {
  /** A queue needs to know where an I/O virtual address leads. */
  BACKEND_IOTLB_MSG: { id: 1, payload: IOTLB },
  /** The configuration space is not what the front-end has read. */
  BACKEND_CONFIG_CHANGE_MSG: { id: 2, payload: NOTHING },
  /** Used buffers to look at, where that is not said through an eventfd. */
  BACKEND_VRING_CALL: { id: 4, payload: VRING_STATE },
  /** A fault, likewise. */
  BACKEND_VRING_ERR: { id: 5, payload: VRING_STATE },
} as const;

/** The name of one of them as the specification spells it. */
export type BackendMessageName = keyof typeof BACKEND_MESSAGES;
