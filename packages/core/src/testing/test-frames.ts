/**
 * The suite's own frames: broadcast, of the Ethernet type that is set aside for experiments, with a
 * number in the source address, so that even a frame without payload can be told from every other.
 */

/** Bytes in an Ethernet header. */
const HEADER = 14;
const NUMBER_OFFSET = 8;
const ETHERTYPE = [0x88, 0xb5] as const;
const MARK = [0x02, 0xc0] as const;

/** Makes frame `number` of `length` bytes, at least 14. */
export function testFrame(number: number, length: number): Uint8Array {
  const frame = new Uint8Array(length).fill(0xff, 0, 6);
  frame.set(MARK, 6);
  new DataView(frame.buffer).setUint32(NUMBER_OFFSET, number);
  frame.set(ETHERTYPE, 12);
  for (let at = HEADER; at < length; at += 1) frame[at] = (number * 31 + at * 7 + (at >> 8)) & 0xff;
  return frame;
}

/** Whether the frame is one of the suite's, rather than something else on the same interface. */
export function isTestFrame(frame: Uint8Array): boolean {
  const [type0, type1] = ETHERTYPE;
  const [mark0, mark1] = MARK;
  return (
    frame.length >= HEADER &&
    frame[12] === type0 &&
    frame[13] === type1 &&
    frame[6] === mark0 &&
    frame[7] === mark1
  );
}

const numberOf = (frame: Uint8Array): number =>
  new DataView(frame.buffer, frame.byteOffset).getUint32(NUMBER_OFFSET);

/** What is wrong with the frames that came, in words; undefined when they are just those expected. */
export function difference(
  expected: readonly Uint8Array[],
  came: readonly Uint8Array[],
): string | undefined {
  const known = new Set(expected.map(numberOf));
  const seen = new Set<number>();
  for (const [index, frame] of came.entries()) {
    const number = numberOf(frame);
    const wanted = expected[index];
    const which = `frame ${index + 1} of ${came.length} that came (number ${number})`;
    if (seen.has(number)) return `${which} came for the second time`;
    seen.add(number);
    if (!known.has(number)) return `${which} was not expected`;
    if (wanted === undefined) return `${which} is one too many`;
    if (numberOf(wanted) !== number) {
      const later = came.slice(index).some((other) => numberOf(other) === numberOf(wanted));
      return `${which} came in the place of number ${numberOf(wanted)}, which ${later ? 'came later' : 'is lost'}`;
    }
    const wrong = differenceIn(wanted, frame);
    if (wrong !== undefined) return `${which}: ${wrong}`;
  }
  const lost = expected.length - came.length;
  return lost === 0 ? undefined : `the last ${lost} of ${expected.length} frames are lost`;
}

function differenceIn(expected: Uint8Array, came: Uint8Array): string | undefined {
  if (expected.length !== came.length) {
    return `it has ${came.length} bytes, ${expected.length} were sent`;
  }
  const at = expected.findIndex((byte, index) => byte !== came[index]);
  return at < 0 ? undefined : `byte ${at} is ${came[at]}, ${expected[at]} was sent`;
}
