import { type QueueFault, VhostError, type VirtioDevice } from '@rxvhost/core';
import {
  type DeviceServer,
  type ProtocolFault,
  type ServeOptions,
  VhostUserServer,
} from '@rxvhost/vhost-user';
import { filter, merge, type Observable, throttleTime } from 'rxjs';
import { onSignals } from '../on-signals.js';
import type { Terminal } from '../terminal.js';
import { EnvironmentError } from '../usage-error.js';
import type { Endpoint } from './endpoint.js';
import { explainEndpoint } from './explain-endpoint.js';

/** Guests and front-ends can cause faults at will: they reach the log at most this often, in ms. */
const FAULT_PERIOD = 1000;
/** What a clean end may take after a signal, in ms, before the process ends without it. */
const STOP_LIMIT = 900;

/** A device that front-ends can meet. */
export interface RunningDevice {
  readonly server: DeviceServer & {
    /** Why the thread that served it ended before it was asked to. */
    readonly failure?: VhostError | undefined;
  };
  readonly errors$: Observable<QueueFault>;
}

/** A device and where its front-end is met. */
export interface ServedDevice {
  readonly endpoint: Endpoint;
  /** What it is, for the log: `backend tap0`, for example. */
  readonly what: string;
  /** Put before its lines in the log, where there are several devices. */
  readonly label?: string;
  /** Begins to serve it. Rejects with a `VhostError` when its front-end cannot be met there. */
  serve(where: ServeOptions): Promise<RunningDevice>;
  /** Closes the device, after its server or where there never was one. */
  close(): Promise<void>;
}

/** How the devices are served. */
export interface ServiceOptions {
  /** End when the first front-end disconnects. */
  readonly once: boolean;
  /** Print the statistics in the end. */
  readonly stats: boolean;
  /** What the end may take after a signal, in milliseconds; 900 unless set. */
  readonly stopLimit?: number;
  statistics(): unknown;
}

/** How a device is served that lives in this thread. */
export function inThisThread(
  device: VirtioDevice & { readonly errors$: Observable<QueueFault> },
): Pick<ServedDevice, 'serve' | 'close'> {
  return {
    serve: async (where) => ({
      server: new VhostUserServer(device, where),
      errors$: device.errors$,
    }),
    close: () => device.close(),
  };
}

/**
 * Serves devices until a signal, or until each one's connection has ended where there can be only
 * one. Owns the devices: they are closed in the end, however that comes. Rejects with `EnvironmentError`
 * when a front-end cannot be met where the options say, and in the end for devices whose thread ended
 * under them; the others are served until then.
 */
export async function serveDevices(
  served: readonly ServedDevice[],
  options: ServiceOptions,
  terminal: Terminal,
): Promise<void> {
  const servers: RunningDevice['server'][] = [];
  let stopping = false;
  const stop = () => {
    stopping = true;
    setTimeout(() => {
      terminal.say('not everything could be released in time');
      process.exit(1);
    }, options.stopLimit ?? STOP_LIMIT).unref();
    for (const server of servers) void server.close();
  };
  const begin = async (one: ServedDevice) => {
    const running = await open(one, options.once);
    servers.push(running.server);
    report(one, running, terminal);
    say(terminal, one, `${describeEndpoint(one.endpoint)}, ${one.what}`);
    if (stopping) void running.server.close();
  };
  // Before anybody can know that we listen: from then on a signal must end it cleanly.
  const signals = onSignals({
    SIGTERM: stop,
    SIGINT: stop,
    SIGUSR1: async () => terminal.say(`statistics ${JSON.stringify(await options.statistics())}`),
  });
  try {
    const begun = await Promise.allSettled(served.map(begin));
    for (const outcome of begun) if (outcome.status === 'rejected') throw outcome.reason;
    await Promise.all(servers.map(({ closed }) => closed));
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await Promise.all(served.map((one) => one.close()));
    signals.unsubscribe();
  }
  if (options.stats) terminal.out(JSON.stringify(await options.statistics()));
  const lost = servers.filter(({ failure }) => failure !== undefined).length;
  if (lost > 0) {
    throw new EnvironmentError(`${lost} of ${servers.length} devices ended with their worker`);
  }
}

async function open({ serve, endpoint }: ServedDevice, once: boolean): Promise<RunningDevice> {
  try {
    return await serve(serveOptions(endpoint, once));
  } catch (error) {
    throw error instanceof VhostError ? explainEndpoint(endpoint, error) : error;
  }
}

function serveOptions(endpoint: Endpoint, once: boolean): ServeOptions {
  switch (endpoint.kind) {
    case 'listen':
      return { socketPath: endpoint.path, once };
    case 'connect':
      return { connectPath: endpoint.path, once };
    case 'connected':
      return { fd: endpoint.fd };
  }
}

function describeEndpoint(endpoint: Endpoint): string {
  switch (endpoint.kind) {
    case 'listen':
      return `listening on ${endpoint.path}`;
    case 'connect':
      return `connecting to who listens on ${endpoint.path}`;
    case 'connected':
      return `serving fd ${endpoint.fd}`;
  }
}

function report(
  served: ServedDevice,
  { server, errors$ }: RunningDevice,
  terminal: Terminal,
): void {
  server.connections$.subscribe(({ id, pid, ended$ }) => {
    say(terminal, served, `front-end ${id} connected (pid ${pid})`);
    ended$.subscribe({ complete: () => say(terminal, served, `front-end ${id} disconnected`) });
  });
  merge(server.errors$, errors$)
    .pipe(
      // That one must not fall under the period.
      filter(({ error }) => error !== server.failure),
      throttleTime(FAULT_PERIOD),
    )
    .subscribe((fault) => say(terminal, served, describe(fault)));
  void server.closed.then(() => {
    if (server.failure !== undefined) say(terminal, served, server.failure.message);
  });
}

function say(terminal: Terminal, { label }: ServedDevice, line: string): void {
  terminal.say(label === undefined ? line : `${label}: ${line}`);
}

function describe(fault: ProtocolFault | QueueFault): string {
  if ('queue' in fault) return `queue ${fault.queue}: ${fault.error.message}`;
  // Of no front-end: the thread that serves the device says so.
  if (fault.connection === 0) return fault.error.message;
  const request = fault.request === undefined ? '' : `, ${fault.request}`;
  return `front-end ${fault.connection}${request}: ${fault.error.message}`;
}
