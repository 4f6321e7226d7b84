import { describeOptions } from '../command-line.js';
import { createContainer } from '../container.js';
import { serveDevices } from '../front-end/serve-devices.js';
import type { Terminal } from '../terminal.js';
import { VsockGuests } from './vsock-guests.js';
import { parseVsockOptions, VSOCK_OPTIONS } from './vsock-options.js';

/** What `--print-capabilities` prints: vhost-user.json knows no optional features of a vsock. */
const CAPABILITIES = { type: 'vsock', features: [] };

/** `rxvhost vsock`. Throws `UsageError`, `EnvironmentError` or `VhostError`. */
export async function vsockCommand(argv: readonly string[], terminal: Terminal): Promise<void> {
  if (argv.includes('--print-capabilities')) {
    terminal.out(JSON.stringify(CAPABILITIES));
    return;
  }
  if (argv.includes('--help') || argv.includes('-h')) {
    terminal.out(HELP);
    return;
  }
  const options = parseVsockOptions(argv);
  const guests = new VsockGuests(createContainer(), options, terminal);
  try {
    await serveDevices(
      guests.served,
      { ...options, statistics: () => guests.statistics() },
      terminal,
    );
  } finally {
    guests.close();
  }
}

const HELP = `rxvhost vsock: serve sockets between a guest and its host over vhost-user

Usage: rxvhost vsock --socket-path=PATH --guest-cid=CID --uds-path=PATH [OPTIONS]

Options:
${describeOptions(VSOCK_OPTIONS)}

SIGUSR1 prints statistics on stderr; SIGTERM and SIGINT end the command.
Exit code 0: ended as asked; 1: this machine cannot do it now; 2: wrong command line.`;
