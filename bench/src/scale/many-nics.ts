import { SaturatedNic } from './saturated-nic.js';

/** Seconds of processor time; making many NICs leaves the garbage collector work. */
const WARM_UP = 1;

/** Saturated NICs side by side in this thread. */
export class ManyNics {
  readonly #nics: readonly SaturatedNic[];
  #running = true;

  /** @param queueSize - entries of each NIC's ring */
  constructor(count: number, queueSize: number) {
    this.#nics = Array.from({ length: count }, () => new SaturatedNic(queueSize));
    setImmediate(this.#turn);
  }

  /** Frames of all NICs. */
  get frames(): number {
    return this.#nics.reduce((sum, { frames }) => sum + frames, 0);
  }

  /** Frames a second of processor time, of all NICs together. */
  async rate(seconds: number): Promise<number> {
    await processorTime(WARM_UP);
    const frames = this.frames;
    const spent = await processorTime(seconds);
    return (this.frames - frames) / spent;
  }

  async close(): Promise<void> {
    this.#running = false;
    for (const nic of this.#nics) await nic.close();
  }

  readonly #turn = (): void => {
    if (!this.#running) return;
    for (const nic of this.#nics) nic.refill();
    setImmediate(this.#turn);
  };
}

/** Waits until this process has spent that much time on a processor; tells how much it was. */
async function processorTime(seconds: number): Promise<number> {
  const start = process.cpuUsage();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    const { user, system } = process.cpuUsage(start);
    if (user + system >= seconds * 1e6) return (user + system) / 1e6;
  }
}
