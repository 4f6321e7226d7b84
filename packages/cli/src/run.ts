import { readFileSync } from 'node:fs';
import { VhostError } from '@rxvhost/core';
import { describeRows } from './command-line.js';
import type { Terminal } from './terminal.js';
import { EnvironmentError, UsageError } from './usage-error.js';

const EXIT_DONE = 0;
const EXIT_ENVIRONMENT = 1;
const EXIT_USAGE = 2;

/** A sub-command, loaded when it is asked for. */
interface Command {
  readonly help: string;
  load(): Promise<(argv: readonly string[], terminal: Terminal) => Promise<void>>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  net: {
    help: 'serve a virtio network card over vhost-user',
    load: async () => (await import('./net/net-command.js')).netCommand,
  },
  vsock: {
    help: 'serve sockets between a guest and its host over vhost-user',
    load: async () => (await import('./vsock/vsock-command.js')).vsockCommand,
  },
};

/**
 * Runs the command line `argv` (without the program's name) to its end and returns the exit code. An
 * error that is neither the user's nor the machine's is our own and is thrown, stack trace and all.
 */
export async function run(argv: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await dispatch(argv, terminal);
    return EXIT_DONE;
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.say(error.message);
      return EXIT_USAGE;
    }
    if (error instanceof EnvironmentError || error instanceof VhostError) {
      terminal.say(error.message);
      return EXIT_ENVIRONMENT;
    }
    throw error;
  }
}

async function dispatch([name, ...argv]: readonly string[], terminal: Terminal): Promise<void> {
  switch (name) {
    case '--version':
      return terminal.out(version());
    case '--help':
    case '-h':
    case 'help':
      return terminal.out(help());
    case undefined:
      throw new UsageError(`which device? Write ${examples()}`);
    default: {
      const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
      if (command === undefined) {
        throw new UsageError(`unknown command '${name}': write ${examples()}, or rxvhost --help`);
      }
      const start = await command.load();
      return await start(argv, terminal);
    }
  }
}

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return `rxvhost ${(JSON.parse(manifest) as { version: string }).version}`;
}

function examples(): string {
  return Object.keys(COMMANDS)
    .map((command) => `rxvhost ${command} …`)
    .join(' or ');
}

function help(): string {
  const rows = Object.entries(COMMANDS).map(([name, { help: text }]) => [name, text] as const);
  return `rxvhost: virtual devices for virtual machines, over vhost-user

Usage: rxvhost COMMAND [OPTIONS]

Commands:
${describeRows(rows)}

rxvhost COMMAND --help describes a command's options; rxvhost --version prints the version.`;
}
