/** As much as a file gives in one read, with room to spare. */
const CAPACITY = 128 * 1024;

/**
 * Where `readFrames` keeps a frame that was read and then needed more chains than there were left:
 * what has been read cannot be put back. One for each file; the frame comes first the next time.
 */
export class FrameKeep {
  /** The frame that waits; native code writes here. */
  readonly bytes = new Uint8Array(CAPACITY);
  /** Its length, and how large a frame the next read prepares for; native code writes here. */
  readonly state = new Uint32Array(2);

  /** A frame waits. No poll tells of it: whoever is asked for readiness has to. */
  get waits(): boolean {
    return this.state[0] !== 0;
  }

  /** Lets the frame go that waits. */
  clear(): void {
    this.state[0] = 0;
  }
}
