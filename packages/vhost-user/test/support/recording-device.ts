import {
  type ConfigSpace,
  type DirtyLog,
  type EventPort,
  type MemoryRegion,
  type QueueMode,
  VhostError,
  type VirtioDevice,
  type VringAddresses,
} from '@rxvhost/core';
import type { Subscription } from 'rxjs';

/** One virtqueue as the fake device knows it. */
export interface RecordedQueue {
  size: number;
  base: number;
  addresses: VringAddresses | undefined;
  kick: EventPort | undefined;
  call: EventPort | undefined;
  error: EventPort | undefined;
  mode: QueueMode;
  inflight: Uint8Array | undefined;
  /** How often the ring was looked at: on going to `running`, and on every kick while it runs. */
  looks: number;
  listening: Subscription | undefined;
}

/**
 * A device that keeps the contract's rules and moves no frames: it notes what a transport asks of
 * it, owns what it is given, and releases all of it on reset.
 */
export class RecordingDevice implements VirtioDevice {
  readonly type = 'net';
  readonly queueCount: number;
  readonly advertisedQueues: number;
  readonly maxQueueSize = 1024;
  readonly offeredFeatures = (1n << 32n) | (1n << 29n) | (1n << 28n) | (1n << 27n);
  features = 0n;
  mtu = 0;
  state: Uint8Array = new Uint8Array(0);
  owned = false;
  regions: readonly MemoryRegion[] = [];
  log: DirtyLog | undefined;
  logEvent: EventPort | undefined;
  readonly queues: RecordedQueue[];
  resets = 0;
  /** While set, `reset` waits for it. */
  resetGate: Promise<void> | undefined;
  readonly config = new RecordedConfig();

  constructor(pairs = 1) {
    this.queueCount = 2 * pairs;
    this.advertisedQueues = pairs;
    this.queues = Array.from({ length: this.queueCount }, newQueue);
  }

  /** A queue's mode, size and base in one word, for comparisons. */
  describe(index: number): string {
    const { mode, size, base } = this.queue(index);
    return `${mode} size ${size} base ${base}`;
  }

  queue(index: number): RecordedQueue {
    const queue = this.queues[index];
    if (!queue) throw new VhostError('ENOBUFS', `no queue ${index}`);
    return queue;
  }

  setOwner(): void {
    if (this.owned) throw new VhostError('EBUSY', 'owned');
    this.owned = true;
  }

  async resetOwner(): Promise<void> {
    await this.reset();
  }

  setFeatures(features: bigint): void {
    if ((features & ~this.offeredFeatures) !== 0n) throw new VhostError('EOPNOTSUPP', 'features');
    this.features = features;
  }

  setMemoryRegions(regions: readonly MemoryRegion[]): void {
    for (const { mapping } of this.regions) mapping.release();
    this.regions = regions;
  }

  addMemoryRegion(region: MemoryRegion): void {
    this.regions = [...this.regions, region];
  }

  removeMemoryRegion(gone: Omit<MemoryRegion, 'mapping'>): void {
    const found = this.regions.find(
      (region) =>
        region.guestAddress === gone.guestAddress &&
        region.userAddress === gone.userAddress &&
        region.size === gone.size,
    );
    if (!found) throw new VhostError('EINVAL', 'no such region');
    found.mapping.release();
    this.regions = this.regions.filter((region) => region !== found);
  }

  setLog(log: DirtyLog | undefined): void {
    this.log?.release();
    this.log = log;
  }

  setLogEvent(port: EventPort | undefined): void {
    this.logEvent?.close();
    this.logEvent = port;
  }

  setVringSize(index: number, size: number): void {
    const queue = this.#stoppedQueue(index);
    if (size < 1 || size > this.maxQueueSize || (size & (size - 1)) !== 0) {
      throw new VhostError('EINVAL', `size ${size}`);
    }
    queue.size = size;
  }

  setVringBase(index: number, base: number | undefined): void {
    const queue = this.#stoppedQueue(index);
    if ((base ?? 0) > 0xffff) throw new VhostError('EINVAL', `base ${base ?? 0}`);
    queue.base = base ?? 0;
  }

  vringBase(index: number): number {
    return this.queue(index).base;
  }

  setVringAddresses(index: number, addresses: VringAddresses): void {
    if ((addresses.flags & ~1) !== 0) throw new VhostError('EOPNOTSUPP', 'flags');
    this.queue(index).addresses = addresses;
  }

  setVringKick(index: number, port: EventPort | undefined): void {
    const queue = this.queue(index);
    queue.listening?.unsubscribe();
    queue.kick?.close();
    queue.kick = port;
    queue.listening = port?.events$.subscribe(() => {
      if (queue.mode === 'running') queue.looks += 1;
    });
  }

  setVringCall(index: number, port: EventPort | undefined): void {
    const queue = this.queue(index);
    queue.call?.close();
    queue.call = port;
  }

  setVringError(index: number, port: EventPort | undefined): void {
    const queue = this.queue(index);
    queue.error?.close();
    queue.error = port;
  }

  saveState(): Uint8Array {
    return this.state;
  }

  loadState(state: Uint8Array): void {
    if (state[0] === 0xff) throw new VhostError('EINVAL', 'a broken state');
    this.state = state;
  }

  setInflight(index: number, region: Uint8Array | undefined): void {
    this.#stoppedQueue(index).inflight = region;
  }

  runQueue(index: number, mode: QueueMode): void {
    const queue = this.queue(index);
    if (mode !== 'stopped') this.#checkReachable(queue);
    queue.mode = mode;
    if (mode === 'running') queue.looks += 1;
  }

  queueSettled(_index: number): Promise<void> | undefined {
    return undefined;
  }

  async reset(): Promise<void> {
    this.resets += 1;
    await this.resetGate;
    for (const index of this.queues.keys()) {
      this.setVringKick(index, undefined);
      this.setVringCall(index, undefined);
      this.setVringError(index, undefined);
      this.queues[index] = newQueue();
    }
    this.setMemoryRegions([]);
    this.setLog(undefined);
    this.setLogEvent(undefined);
    this.features = 0n;
    this.owned = false;
  }

  async close(): Promise<void> {
    await this.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  setMtu(mtu: number): void {
    if (mtu < 68 || mtu > 9000) throw new VhostError('EINVAL', `MTU ${mtu}`);
    this.mtu = mtu;
  }

  #stoppedQueue(index: number): RecordedQueue {
    const queue = this.queue(index);
    if (queue.mode !== 'stopped') throw new VhostError('EBUSY', `queue ${index} runs`);
    return queue;
  }

  #checkReachable({ addresses, size }: RecordedQueue): void {
    if (!addresses || size === 0) throw new VhostError('EFAULT', 'nothing to run');
    const { descriptorTable, availableRing, usedRing } = addresses;
    for (const start of [descriptorTable, availableRing, usedRing]) {
      const inside = this.regions.some(
        ({ userAddress, size }) => userAddress <= start && start < userAddress + size,
      );
      if (!inside) throw new VhostError('EFAULT', `0x${start.toString(16)} is in no region`);
    }
  }
}

/** 12 bytes, of which only the first six may be written, unless a device is being restored. */
class RecordedConfig implements ConfigSpace {
  readonly size = 12;
  readonly bytes = new Uint8Array(12);

  read(offset: number, length: number): Uint8Array {
    if (offset + length > this.size) throw new VhostError('EINVAL', 'outside');
    return this.bytes.slice(offset, offset + length);
  }

  write(offset: number, bytes: Uint8Array, migration: boolean): void {
    if (offset + bytes.length > this.size) throw new VhostError('EINVAL', 'outside');
    if (!migration && offset + bytes.length > 6) throw new VhostError('EPERM', 'read-only');
    this.bytes.set(bytes, offset);
  }
}

function newQueue(): RecordedQueue {
  return {
    size: 0,
    base: 0,
    addresses: undefined,
    kick: undefined,
    call: undefined,
    error: undefined,
    mode: 'stopped',
    inflight: undefined,
    looks: 0,
    listening: undefined,
  };
}
