import type { BackendFactory } from '../backends/backend-factory.js';
import { describeOptions, describeRows } from '../command-line.js';
import { BACKEND_FACTORY, createContainer } from '../container.js';
import { serveDevices } from '../front-end/serve-devices.js';
import type { Terminal } from '../terminal.js';
import { cardsHere, cardsInWorkers } from './cards.js';
import { NET_OPTIONS, parseNetOptions } from './net-options.js';

/** What `--print-capabilities` prints: vhost-user.json knows no optional features of a NIC. */
const CAPABILITIES = { type: 'net', features: [] };

/** Threads take their time to end, on a busy machine above all, in ms. */
const WORKERS_STOP_LIMIT = 5000;

/** `rxvhost net`. Throws `UsageError`, `EnvironmentError` or `VhostError`. */
export async function netCommand(argv: readonly string[], terminal: Terminal): Promise<void> {
  if (argv.includes('--print-capabilities')) {
    terminal.out(JSON.stringify(CAPABILITIES));
    return;
  }
  const container = createContainer();
  const factories = container.getAll(BACKEND_FACTORY);
  if (argv.includes('--help') || argv.includes('-h')) {
    terminal.out(help(factories));
    return;
  }
  const options = parseNetOptions(argv, factories);
  const { cards, workers, once, stats } = options;
  const nics =
    workers === undefined ? await cardsHere(container, cards) : cardsInWorkers(cards, workers);
  try {
    await serveDevices(
      nics.served,
      {
        once,
        stats,
        statistics: () => nics.statistics(),
        ...(workers === undefined ? {} : { stopLimit: WORKERS_STOP_LIMIT }),
      },
      terminal,
    );
  } finally {
    await nics.close();
  }
}

function help(factories: readonly BackendFactory[]): string {
  return `rxvhost net: serve a virtio network card over vhost-user

Usage: rxvhost net --socket-path=PATH --backend=SPEC [OPTIONS]
       rxvhost net [OPTIONS] --socket-path=PATH --backend=SPEC … --socket-path=PATH --backend=SPEC …

Each --socket-path (or --connect-path, or --fd) is a card. Of several, each has the options that
stand behind it; those before the first one hold for all.

Options:
${describeOptions(NET_OPTIONS)}

Backends:
${describeRows(factories.map(({ form, help: text }) => [form, text] as const))}

SIGUSR1 prints statistics on stderr; SIGTERM and SIGINT end the command.
Exit code 0: ended as asked; 1: this machine cannot do it now; 2: wrong command line.`;
}
