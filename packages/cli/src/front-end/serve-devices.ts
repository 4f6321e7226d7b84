import { type QueueFault, VhostError, type VirtioDevice } from '@rxvhost/core';
import { type ProtocolFault, type ServeOptions, VhostUserServer } from '@rxvhost/vhost-user';
import { merge, type Observable, throttleTime } from 'rxjs';
import { onSignals } from '../on-signals.js';
import type { Terminal } from '../terminal.js';
import type { Endpoint } from './endpoint.js';
import { explainEndpoint } from './explain-endpoint.js';

/** Guests and front-ends can cause faults at will: they reach the log at most this often, in ms. */
const FAULT_PERIOD = 1000;
/** What a clean end may take after a signal, in ms, before the process ends without it. */
const STOP_LIMIT = 900;

/** A device and where its front-end is met. */
export interface ServedDevice {
  readonly device: VirtioDevice & { readonly errors$: Observable<QueueFault> };
  readonly endpoint: Endpoint;
  /** What it is, for the log: `backend tap0`, for example. */
  readonly what: string;
  /** Put before its lines in the log, where there are several devices. */
  readonly label?: string;
}

/** How the devices are served. */
export interface ServiceOptions {
  /** End when the first front-end disconnects. */
  readonly once: boolean;
  /** Print the statistics in the end. */
  readonly stats: boolean;
  statistics(): unknown;
}

/**
 * Serves devices until a signal, or until each one's connection has ended where there can be only
 * one. Owns the devices: they are closed in the end, however that comes. Throws `EnvironmentError`
 * when a front-end cannot be met where the options say.
 */
export async function serveDevices(
  served: readonly ServedDevice[],
  options: ServiceOptions,
  terminal: Terminal,
): Promise<void> {
  const servers: VhostUserServer[] = [];
  const stop = () => {
    setTimeout(() => {
      terminal.say('not everything could be released in time');
      process.exit(1);
    }, STOP_LIMIT).unref();
    for (const server of servers) void server.close();
  };
  // Before anybody can know that we listen: from then on a signal must end it cleanly.
  const signals = onSignals({
    SIGTERM: stop,
    SIGINT: stop,
    SIGUSR1: () => terminal.say(`statistics ${JSON.stringify(options.statistics())}`),
  });
  try {
    for (const one of served) {
      const server = openServer(one, options.once);
      servers.push(server);
      report(one, server, terminal);
      say(terminal, one, `${describeEndpoint(one.endpoint)}, ${one.what}`);
    }
    await Promise.all(servers.map(({ closed }) => closed));
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await Promise.all(served.map(({ device }) => device.close()));
    signals.unsubscribe();
  }
  if (options.stats) terminal.out(JSON.stringify(options.statistics()));
}

function openServer({ device, endpoint }: ServedDevice, once: boolean): VhostUserServer {
  try {
    return new VhostUserServer(device, serveOptions(endpoint, once));
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

function report(served: ServedDevice, server: VhostUserServer, terminal: Terminal): void {
  server.connections$.subscribe(({ id, pid, ended$ }) => {
    say(terminal, served, `front-end ${id} connected (pid ${pid})`);
    ended$.subscribe({ complete: () => say(terminal, served, `front-end ${id} disconnected`) });
  });
  merge(server.errors$, served.device.errors$)
    .pipe(throttleTime(FAULT_PERIOD))
    .subscribe((fault) => say(terminal, served, describe(fault)));
}

function say(terminal: Terminal, { label }: ServedDevice, line: string): void {
  terminal.say(label === undefined ? line : `${label}: ${line}`);
}

function describe(fault: ProtocolFault | QueueFault): string {
  if ('queue' in fault) return `queue ${fault.queue}: ${fault.error.message}`;
  const request = fault.request === undefined ? '' : `, ${fault.request}`;
  return `front-end ${fault.connection}${request}: ${fault.error.message}`;
}
