/** Whose packets a device takes from its guest, and for whom. */
export interface PacketFilter {
  /** The guest's own address: a packet from any other is a lie. */
  readonly guestCid: number;
  /** Whether the guest may send to this address. */
  reaches(cid: number): boolean;
}
