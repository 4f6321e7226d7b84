import { VhostError } from '@rxvhost/core';
import { closeFd } from '@rxvhost/sys';
import t from 'tap';
import { protocolFeatures } from '../src/index.js';
import { benchFor, event, FEATURES, makeBench, memoryRegion, negotiate } from './support/bench.js';
import { RecordingDevice } from './support/recording-device.js';
import { steps } from './support/ring-steps.js';

t.test('RESET_DEVICE: rings as new, memory and calls kept', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  await step.memory();
  await frontend.request('SET_VRING_CALL', { index: 0, hasFd: true }, [event(t).fd]);
  for (const name of ['size', 'base', 'address', 'kick', 'enable'] as const) await step[name]();
  t.equal(device.queue(0).mode, 'running');
  await frontend.request('RESET_DEVICE', undefined);
  t.equal(device.queue(0).mode, 'stopped');
  t.equal(device.queue(0).base, 0);
  t.equal(device.queue(0).kick, undefined);
  t.ok(device.queue(0).call);
  t.equal(device.features, 0n);
  t.equal(device.regions.length, 1);
  t.ok(device.owned);
  await step.kick();
  await step.enable();
  t.equal(device.queue(0).mode, 'stopped', 'T19 size and addresses have to come anew');
});

/** A device whose queue 0 has a frame out in a backend when it is stopped, until it is told. */
class SlowDevice extends RecordingDevice {
  readonly #out: Promise<void>;
  #comeBack: () => void = () => {};
  #settled = false;

  constructor() {
    super();
    this.#out = new Promise((resolve) => {
      this.#comeBack = resolve;
    });
  }

  override queueSettled(index: number): Promise<void> | undefined {
    return index === 0 && !this.#settled ? this.#out : undefined;
  }

  override setVringBase(index: number, base?: number): void {
    if (this.queueSettled(index) !== undefined) throw new VhostError('EBUSY', 'a frame is out');
    super.setVringBase(index, base);
  }

  settle(): void {
    this.#settled = true;
    this.#comeBack();
  }
}

t.test('RESET_DEVICE waits for what is out in a backend, and others do not meddle', async (t) => {
  const { frontend, device } = await benchFor(t, new SlowDevice());
  const protocol = protocolFeatures('REPLY_ACK', 'RESET_DEVICE', 'INFLIGHT_SHMFD', 'DEVICE_STATE');
  await negotiate(frontend, FEATURES, protocol);
  await frontend.shareMemory([memoryRegion(t)]);
  const wanted = { mmapSize: 0, mmapOffset: 0, queueCount: 2, queueSize: 64 };
  const memory = await frontend.request('GET_INFLIGHT_FD', wanted);
  t.teardown(() => closeFd(memory.fd));
  const refused = () => frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
  await t.rejects(refused(), { code: 'EBUSY' });
  await t.rejects(frontend.saveState(), { code: 'EBUSY' });
  let done = false;
  const reset = frontend.request('RESET_DEVICE', undefined).then(() => {
    done = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.notOk(done, 'it waits');
  device.settle();
  await reset;
  await frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
});
