/** What a packet's `type` says about its connection (virtio 1.2, 5.10.6). */
export const PacketType = {
  /** Bytes in order, without borders. */
  STREAM: 1,
  /** Messages in order, with borders. */
  SEQPACKET: 2,
} as const;

/** What a packet's `op` asks for (virtio 1.2, 5.10.6). */
export const Operation = {
  INVALID: 0,
  /** Opens a connection. */
  REQUEST: 1,
  /** Answers a REQUEST: the connection is open. */
  RESPONSE: 2,
  /** There is no such connection (any more). Never answered. */
  RST: 3,
  /** The sender will not receive, or not send, any more: see {@link ShutdownFlag}. */
  SHUTDOWN: 4,
  /** Payload. */
  RW: 5,
  /** Tells only of credit, as every packet does beside its purpose. */
  CREDIT_UPDATE: 6,
  /** Asks for a CREDIT_UPDATE. */
  CREDIT_REQUEST: 7,
} as const;

/** Flags of a SHUTDOWN; what was said once cannot be taken back. */
export const ShutdownFlag = {
  /** The sender of the packet will receive no more. */
  RECEIVE: 1,
  /** The sender of the packet will send no more. */
  SEND: 2,
  BOTH: 3,
} as const;

/** Flags of a SEQPACKET connection's RW. */
export const MessageFlag = {
  /** This payload ends a message. */
  END_OF_MESSAGE: 1,
  /** This payload ends a record (`MSG_EOR`); comes together with END_OF_MESSAGE. */
  END_OF_RECORD: 2,
} as const;

/** The event queue's only event (virtio 1.2, 5.10.6.7): the driver must end every connection and read its CID anew. */
export const EVENT_TRANSPORT_RESET = 0;
/** Bytes of an event: `id` u32. */
export const EVENT_BYTES = 4;
