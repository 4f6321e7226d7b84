/** Bytes of the header before every packet (virtio 1.2, 5.10.6). */
export const HEADER_BYTES = 44;

/** The most payload that a packet carries: what Linux puts in one. */
export const MAX_PAYLOAD = 64 * 1024;

/** The host's address, whichever guest asks. */
export const HOST_CID = 2;
/** Stands for "any address" in an API; never on the wire. */
export const ANY_CID = 0xffff_ffff;
/** The first CID that a guest may have; 0 and 1 are reserved, 2 is the host. */
export const FIRST_GUEST_CID = 3;

/** Stands for "any port" in an API; no connection has it. */
export const ANY_PORT = 0xffff_ffff;
/** Ports up to here are for services; a port for a connection that we open is above. */
export const LAST_SERVICE_PORT = 1023;

/** True for an address that a guest may have: 32 bits, none of the reserved ones. */
export function isGuestCid(cid: number): boolean {
  return Number.isInteger(cid) && cid >= FIRST_GUEST_CID && cid < ANY_CID;
}

/** True for a port that a connection or a listener may have. */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port < ANY_PORT;
}
