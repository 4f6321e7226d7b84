import type { FilterInstruction } from '@rxvhost/sys';

/**
 * Classic BPF programs: a socket's filter gets the frame and returns how many bytes of it to take, 0
 * for none. Load puts bytes of the frame into the accumulator, a jump compares it (`linux/filter.h`).
 */
const LOAD_BYTE = 0x30;
const LOAD_HALF = 0x28;
const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
/** Loads from here on are not of the frame: what the kernel knows of it. */
const ANCILLARY = 0xffff_f000;
const PACKET_TYPE = ANCILLARY + 4;
const PACKET_OUTGOING = 4;

const TAKE: FilterInstruction = { code: RETURN, operand: 0x40000 };
const LEAVE: FilterInstruction = { code: RETURN, operand: 0 };

/** What a filter lets through. */
export interface PacketFilter {
  /** Only frames for this address, and those for groups and for everybody. */
  readonly address?: Uint8Array | undefined;
  /** Only what comes in through the interface. */
  readonly incoming: boolean;
}

/** The program for a filter; `undefined` when it lets everything through. */
export function filterProgram(filter: PacketFilter): FilterInstruction[] | undefined {
  const checks: FilterInstruction[] = [];
  if (filter.incoming) {
    checks.push(
      { code: LOAD_WORD, operand: PACKET_TYPE },
      { code: JUMP_EQUAL, operand: PACKET_OUTGOING, jumpTrue: 0, jumpFalse: 1 },
      LEAVE,
    );
  }
  if (filter.address !== undefined) {
    const view = new DataView(filter.address.buffer, filter.address.byteOffset, 6);
    checks.push(
      { code: LOAD_BYTE, operand: 0 },
      { code: JUMP_ANY_BIT, operand: 1, jumpTrue: 5, jumpFalse: 0 },
      { code: LOAD_WORD, operand: 0 },
      { code: JUMP_EQUAL, operand: view.getUint32(0), jumpTrue: 0, jumpFalse: 2 },
      { code: LOAD_HALF, operand: 4 },
      { code: JUMP_EQUAL, operand: view.getUint16(4), jumpTrue: 1, jumpFalse: 0 },
      LEAVE,
    );
  }
  return checks.length === 0 ? undefined : [...checks, TAKE];
}
