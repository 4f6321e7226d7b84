import { struct, u32 } from './layout.js';

/**
 * vhost-user travels over a Unix stream socket. Every message is a header of 12 bytes and a payload
 * of `size` bytes, in the machine's byte order; file descriptors come as ancillary data with the
 * header's first byte. The front-end (the VMM) asks, the back-end (the device) answers, strictly in
 * order. Some requests have a reply of their own. For all others the front-end may set NEED_REPLY
 * and gets an acknowledgement: a 64-bit zero, or something else for a failure.
 */

/** The header in front of every message. */
export const HEADER = struct('header', { request: u32, flags: u32, size: u32 });

/** A decoded header. */
export type MessageHeader = ReturnType<typeof HEADER.decode>;

/** Bits 0 and 1 of the flags: the version, always 1. */
export const VERSION = 0x1;
export const VERSION_MASK = 0x3;
/** Set on every reply. */
export const FLAG_REPLY = 0x4;
/** The sender waits for an acknowledgement. */
export const FLAG_NEED_REPLY = 0x8;

/** The most file descriptors in one message, either way. */
export const MAX_FDS = 8;

/**
 * The most payload bytes that we read. The longest message of today has 268; the rest is room for
 * messages that we do not know and want to refuse politely.
 */
export const MAX_PAYLOAD = 4096;
