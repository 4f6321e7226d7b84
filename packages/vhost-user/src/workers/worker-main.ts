// What a worker thread of `DeviceWorkers` runs. Whatever is thrown here ends the thread, and the main
// thread hears of it.
import { parentPort, workerData } from 'node:worker_threads';
import { DeviceHost, factoryOf } from './device-host.js';
import type { FromWorker, ToWorker, WorkerStart } from './messages.js';

const { module } = workerData as WorkerStart;
const factory = factoryOf<unknown, unknown>(module, await import(module));
const host = new DeviceHost<unknown, unknown>(
  factory,
  (message: FromWorker<unknown>) => parentPort?.postMessage(message),
  () => process.exit(),
);
// Messages that came before have waited for this.
parentPort?.on('message', (message: ToWorker<unknown>) => host.receive(message));
