import { type QueueFault, VhostError, type VhostNet } from '@rxvhost/core';
import { type ProtocolFault, type ServeOptions, VhostUserServer } from '@rxvhost/vhost-user';
import { merge, throttleTime } from 'rxjs';
import { onSignals } from '../on-signals.js';
import type { Terminal } from '../terminal.js';
import { explainEndpoint } from './explain-endpoint.js';
import type { Endpoint, NetOptions } from './net-options.js';

/** Guests and front-ends can cause faults at will: they reach the log at most this often, in ms. */
const FAULT_PERIOD = 1000;
/** What a clean end may take after a signal, in ms, before the process ends without it. */
const STOP_LIMIT = 900;

/**
 * Serves `nic` until a signal, or until the one connection has ended that there can be. Owns the NIC:
 * it is closed in the end, however that comes. Throws `EnvironmentError` when the front-end cannot be
 * met where the options say.
 */
export async function serveNet(
  nic: VhostNet,
  options: NetOptions,
  terminal: Terminal,
): Promise<void> {
  let server: VhostUserServer | undefined;
  // Before anybody can know that we listen: from then on a signal must end it cleanly.
  const signals = onSignals({
    SIGTERM: () => stop(server, terminal),
    SIGINT: () => stop(server, terminal),
    SIGUSR1: () => terminal.say(`statistics ${JSON.stringify(nic.statistics())}`),
  });
  try {
    server = openServer(nic, options);
    report(nic, server, terminal);
    terminal.say(`${describeEndpoint(options.endpoint)}, backend ${options.backend.description}`);
    await server.closed;
  } finally {
    await nic.close();
    signals.unsubscribe();
  }
  if (options.stats) terminal.out(JSON.stringify(nic.statistics()));
}

function openServer(nic: VhostNet, { endpoint, once }: NetOptions): VhostUserServer {
  try {
    return new VhostUserServer(nic, serveOptions(endpoint, once));
  } catch (error) {
    throw error instanceof VhostError ? explainEndpoint(endpoint, error) : error;
  }
}

function serveOptions(endpoint: Endpoint, once: boolean): ServeOptions {
  return endpoint.kind === 'listen' ? { socketPath: endpoint.path, once } : { fd: endpoint.fd };
}

function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'listen' ? `listening on ${endpoint.path}` : `serving fd ${endpoint.fd}`;
}

function report(nic: VhostNet, server: VhostUserServer, { say }: Terminal): void {
  server.connections$.subscribe(({ id, pid, ended$ }) => {
    say(`front-end ${id} connected (pid ${pid})`);
    ended$.subscribe({ complete: () => say(`front-end ${id} disconnected`) });
  });
  merge(server.errors$, nic.errors$)
    .pipe(throttleTime(FAULT_PERIOD))
    .subscribe((fault) => say(describe(fault)));
}

function describe(fault: ProtocolFault | QueueFault): string {
  if ('queue' in fault) return `queue ${fault.queue}: ${fault.error.message}`;
  const request = fault.request === undefined ? '' : `, ${fault.request}`;
  return `front-end ${fault.connection}${request}: ${fault.error.message}`;
}

function stop(server: VhostUserServer | undefined, terminal: Terminal): void {
  setTimeout(() => {
    terminal.say('not everything could be released in time');
    process.exit(1);
  }, STOP_LIMIT).unref();
  void server?.close();
}
