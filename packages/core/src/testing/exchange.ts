import { type Observable, tap } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import { ArrayBufferMapping } from '../memory/mapping.js';
import type { BackendPeer, ConformanceBench, ConformanceOptions } from './conformance-options.js';
import { type ChainLayout, FrameMemory, MOST_CHAINS } from './frame-memory.js';
import { difference, isTestFrame, testFrame } from './test-frames.js';
import { emission, someTurns, until } from './waiting.js';

/** Most bytes that a layout of the suite adds before a frame: what is skipped, and a header. */
const BEFORE_FRAME = 64;
const DEFAULT_PATIENCE = 5000;

/** How a check sends. */
export interface SendLayout extends ChainLayout {
  /** Chains in the batch before the first that is to be sent. */
  readonly first?: number;
}

/** How a check receives. */
export interface ReceiveLayout extends ChainLayout {
  readonly chains?: number;
  /** Bytes for the frame, without what is skipped and without a virtio-net header. */
  readonly room?: number;
  readonly chainsPerFrame?: number;
  /** See `PacketBatch.largest`. */
  readonly largest?: boolean;
}

/** What a call of `receive` has brought. */
export interface Received {
  /** The suite's own. */
  readonly frames: Uint8Array[];
  /** All frames, with those that somebody else has sent. */
  readonly count: number;
  readonly oversized: number;
  readonly wantsMore: boolean;
}

/** A backend, its peer, and memory between them: what the checks do, with what must always hold. */
export class Exchange {
  readonly backend: PacketSocket;
  readonly smallest: number;
  readonly largest: number;
  readonly patience: number;
  readonly memory: FrameMemory;
  #inCall = false;
  #number = 0;

  constructor(
    private readonly bench: ConformanceBench,
    readonly options: ConformanceOptions,
  ) {
    const { backend } = bench;
    this.backend = backend;
    this.smallest = options.smallestFrame ?? 14;
    this.largest = options.largestFrame ?? 1514;
    this.patience = options.patience ?? DEFAULT_PATIENCE;
    const make =
      options.memory ??
      backend.allocate?.bind(backend) ??
      ((bytes: number) => new ArrayBufferMapping(new ArrayBuffer(bytes)));
    this.memory = new FrameMemory(make, this.largest + BEFORE_FRAME, options.rings);
  }

  get peer(): BackendPeer {
    if (this.bench.peer === undefined) throw new Error('a backend that is no sink needs a peer');
    return this.bench.peer;
  }

  /** New frames of these lengths. */
  frames(lengths: readonly number[]): Uint8Array[] {
    return lengths.map((length) => testFrame(this.#number++, length));
  }

  /** Lengths that go wrong more often than others, within what the backend carries. */
  get lengths(): number[] {
    const all = [14, 15, 16, 59, 60, 61, 64, 255, 256, 257, 511, 1000, 1499, 1500, 1513, 1514];
    const larger = [1515, 1518, 2048, 4096, 9014, 16384, 32768, 65535, this.largest];
    const carried = [...all, ...larger].filter((n) => n >= this.smallest && n <= this.largest);
    return [...new Set([this.smallest, ...carried])];
  }

  /** One call of `send`. Returns how many of the frames were disposed of. */
  send(frames: readonly Uint8Array[], layout: SendLayout = {}): number {
    const { batch } = this.memory;
    const { first = 0, skip = 0 } = layout;
    this.fill(frames, layout);
    const sent = this.#call(() => this.backend.send(batch, first));
    this.checkResults(sent, frames, first);
    expect(this.memory.isUntouchedOutside(), 'send wrote to memory that is not in the batch');
    expect(batch.count === first + frames.length && batch.skip === skip, 'send changed the batch');
    // Whatever is not copied by now is lost: the device fills the batch again, the guest its buffers.
    this.memory.scribble();
    return sent;
  }

  /** Lays the frames into the memory's batch. */
  fill(frames: readonly Uint8Array[], layout: SendLayout = {}): void {
    const { first = 0, skip = 0 } = layout;
    const before = skip + this.backend.headerLength;
    this.memory.begin(layout);
    for (let n = 0; n < first; n += 1) this.memory.add(before + this.smallest, layout);
    for (const frame of frames) this.memory.add(before + frame.length, layout);
    this.memory.take('send');
    for (const [index, frame] of frames.entries()) {
      this.memory.write(first + index, skip, new Uint8Array(this.backend.headerLength));
      this.memory.write(first + index, before, frame);
    }
  }

  /** Checks what `send` says about the frames that it disposed of. */
  checkResults(sent: number, frames: readonly Uint8Array[], first: number): void {
    const { results } = this.memory.batch;
    expect(
      Number.isInteger(sent) && sent >= 0 && sent <= frames.length,
      `send returned ${sent}, it was given ${frames.length} frames`,
    );
    for (const [index, frame] of frames.slice(0, sent).entries()) {
      const result = results[first + index] as number;
      const length = frame.length + this.backend.headerLength;
      expect(
        result === length,
        `results[${first + index}] is ${result} for a frame of ${length} bytes that was taken`,
      );
    }
    for (let index = 0; index < first; index += 1) {
      expect(results[index] === 0x7fff_ffff, 'send changed a result before the first frame');
    }
  }

  /** Sends all of them, waiting for `writable$` where the backend is full. */
  async sendAll(frames: readonly Uint8Array[], layout: SendLayout = {}): Promise<void> {
    const most = MOST_CHAINS - (layout.first ?? 0);
    for (let next = 0; next < frames.length; ) {
      const some = frames.slice(next, next + most);
      const sent = this.send(some, layout);
      next += sent;
      if (sent < some.length) await this.becomesWritable();
    }
  }

  /** Waits for `writable$` while the peer takes what there is. */
  async becomesWritable(): Promise<void> {
    const writable = emission(this.watched(this.backend.writable$), this.patience);
    let waiting = true;
    void writable.finally(() => {
      waiting = false;
    });
    while (waiting) {
      await this.#take();
      await someTurns(1);
    }
    expect(await writable, 'full, but writable$ did not emit when there was room again');
  }

  readonly #atPeer: Uint8Array[] = [];

  async #take(): Promise<void> {
    for (const frame of await this.peer.received()) {
      if (isTestFrame(frame)) this.#atPeer.push(Uint8Array.from(frame));
    }
  }

  /** Checks that just these frames have come to the peer since the last time. */
  async expectAtPeer(frames: readonly Uint8Array[]): Promise<void> {
    await until(async () => {
      await this.#take();
      return this.#atPeer.length >= frames.length;
    }, this.patience);
    // One that comes twice comes after all that were expected.
    for (let n = 0; n < 5; n += 1) {
      await someTurns(2);
      await this.#take();
    }
    const wrong = difference(frames, this.#atPeer.splice(0));
    expect(wrong === undefined, `at the peer: ${wrong}`);
  }

  /** One call of `receive`. */
  receive(layout: ReceiveLayout = {}): Received {
    const { chains = 32, room = this.largest, chainsPerFrame = 1, largest = false } = layout;
    const { skip = 0 } = layout;
    const { batch } = this.memory;
    const { headerLength } = this.backend;
    this.memory.begin(layout);
    batch.chainsPerFrame = chainsPerFrame;
    batch.largest = largest;
    for (let n = 0; n < chains; n += 1) this.memory.add(skip + headerLength + room, layout);
    this.memory.take('receive');
    const filled = this.#call(() => this.backend.receive(batch));
    const frames: Uint8Array[] = [];
    let chain = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      const count = batch.frameChains[frame] as number;
      const length = batch.frameLengths[frame] as number;
      expect(count >= 1 && count <= chainsPerFrame, `frameChains[${frame}] is ${count}`);
      const bytes = this.memory.read(chain, count).subarray(skip);
      expect(length <= bytes.length, `frameLengths[${frame}] is ${length}, over the buffers’ room`);
      expect(this.memory.isSkipUntouched(chain), 'receive wrote to the bytes to be skipped');
      chain += count;
      const bare = bytes.subarray(headerLength, length);
      if (isTestFrame(bare)) frames.push(bare);
    }
    expect(chain <= chains, `receive filled ${chain} chains, there were ${chains}`);
    expect(filled === chain, `receive returned ${filled}, the frames fill ${chain} chains`);
    expect(this.memory.isUntouchedOutside(), 'receive wrote to memory that is not in the batch');
    const { frameCount: count, oversized, wantsMore } = batch;
    return { frames, count, oversized, wantsMore };
  }

  /** Receives until all of `frames` are there, or nothing comes any more, and compares. */
  async expectReceived(frames: readonly Uint8Array[], layout: ReceiveLayout = {}): Promise<void> {
    const came: Uint8Array[] = [];
    while (came.length < frames.length) {
      const { frames: some, oversized } = this.receive(layout);
      came.push(...some);
      if (some.length > 0 || oversized > 0 || came.length >= frames.length) continue;
      if (!(await emission(this.watched(this.backend.readable$), this.patience))) break;
    }
    for (let n = 0; n < 5; n += 1) {
      await someTurns(2);
      came.push(...this.receive(layout).frames);
    }
    const wrong = difference(frames, came);
    expect(wrong === undefined, `received: ${wrong}`);
  }

  /** The same stream, but an emission from inside `send` or `receive` is an error. */
  watched(source: Observable<void>): Observable<void> {
    const check = tap<void>(() => {
      expect(!this.#inCall, 'an observable emitted from inside send or receive');
    });
    return source.pipe(check);
  }

  /** Counts emissions for some turns, those left out that bring a frame of somebody else's. */
  async emptyEmissions(turns: number): Promise<number> {
    let count = 0;
    const subscription = this.watched(this.backend.readable$).subscribe(() => {
      if (this.receive().count === 0) count += 1;
    });
    await someTurns(turns);
    subscription.unsubscribe();
    return count;
  }

  release(): void {
    this.memory.release();
  }

  #call(call: () => number): number {
    this.#inCall = true;
    try {
      return call();
    } finally {
      this.#inCall = false;
    }
  }
}

/** Throws what must hold when it does not. */
export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}
