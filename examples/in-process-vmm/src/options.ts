import { parseArgs } from 'node:util';

/** What the command line asks for. */
export interface DemoOptions {
  /** Frames that each guest sends. */
  readonly frames: number;
  /** Print one JSON object at the end and nothing else. */
  readonly json: boolean;
}

export const USAGE = `usage: npm start -- [options]

  --frames N   frames that each guest sends, 1 to 100000000 (default 20000)
  --json       print the summary as one JSON object and nothing else
  --help       print this`;

/** A command line that cannot be meant. The message says what to write instead. */
export class UsageError extends Error {}

/** Reads the command line; `'help'` when that is all it asks for. Throws {@link UsageError}. */
export function parseOptions(args: readonly string[]): DemoOptions | 'help' {
  const { frames, json, help } = read(args);
  if (help === true) return 'help';
  const count = Number(frames ?? 20_000);
  if (!Number.isInteger(count) || count < 1 || count > 100_000_000) {
    throw new UsageError(`--frames ${frames}: give a whole number from 1 to 100000000`);
  }
  return { frames: count, json: json === true };
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        frames: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    const [what] = error instanceof Error ? error.message.split('. ') : [String(error)];
    throw new UsageError(`${what}: see --help`);
  }
}
