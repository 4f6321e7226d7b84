// A worker's module: a NIC with a guest that keeps it busy, both in the worker's thread.
import type { VhostNet } from '@rxvhost/core';
import { SaturatedNic } from './saturated-nic.js';

/** @param queueSize - entries of the NIC's ring */
export default function makeNic(queueSize: number): VhostNet {
  const saturated = new SaturatedNic(queueSize);
  let running = true;
  const turn = (): void => {
    if (!running) return;
    saturated.refill();
    setImmediate(turn);
  };
  setImmediate(turn);
  saturated.nic.state$.subscribe({
    complete: () => {
      running = false;
      void saturated.close();
    },
  });
  return saturated.nic;
}
