import { parseArgs } from 'node:util';
import { UsageError } from './usage-error.js';

/** One option of a sub-command: what `--help` prints and what the parser accepts. */
export interface OptionRow {
  /** Name without the dashes. */
  readonly name: string;
  /** What stands for the value in `--help`; absent for a switch. */
  readonly value?: string;
  readonly help: string;
  /** It may be given several times. */
  readonly repeats?: true;
}

/** What was given, as text; switches are `''`. */
export class GivenOptions {
  readonly #values = new Map<string, string[]>();

  /** @param common - what holds where nothing else is given here */
  constructor(private readonly common?: GivenOptions) {}

  has(name: string): boolean {
    return this.all(name).length > 0;
  }

  /** The value of an option that is given at most once. */
  get(name: string): string | undefined {
    return this.all(name)[0];
  }

  /** The values of one that may be repeated, in order. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? this.common?.all(name) ?? [];
  }

  /** Throws {@link UsageError} for an option that is given twice and may not be. */
  add({ row: { name, repeats }, value }: GivenOption): void {
    const before = this.#values.get(name);
    if (before !== undefined && repeats !== true) {
      throw new UsageError(`--${name} is given twice: give it once`);
    }
    this.#values.set(name, [...(before ?? []), value]);
  }
}

/** An option as it stands on the command line. */
export interface GivenOption {
  readonly row: OptionRow;
  readonly value: string;
}

/**
 * Reads `--name=value`, `--name value` and switches.
 * Throws {@link UsageError} for an unknown option, a missing or surplus value, an option given
 * twice, and for arguments that are no options.
 * @param command - for messages: what `--help` belongs to, for example `rxvhost net`
 */
export function parseOptions(
  command: string,
  rows: readonly OptionRow[],
  argv: readonly string[],
): GivenOptions {
  const given = new GivenOptions();
  for (const option of readOptions(command, rows, argv)) given.add(option);
  return given;
}

/** As {@link parseOptions}, but in the order in which they were given, however often. */
export function readOptions(
  command: string,
  rows: readonly OptionRow[],
  argv: readonly string[],
): readonly GivenOption[] {
  const known = new Map(rows.map((row) => [row.name, row]));
  const options = Object.fromEntries(
    rows.map(({ name, value }) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true });
  const given: GivenOption[] = [];
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      throw new UsageError(`unexpected argument '${token.value}': see ${command} --help`);
    }
    const row = known.get(token.name);
    if (row === undefined) {
      throw new UsageError(`unknown option ${token.rawName}: see ${command} --help`);
    }
    given.push({ row, value: givenValue(row, token.value, token.inlineValue) });
  }
  return given;
}

function givenValue(
  row: OptionRow,
  value: string | undefined,
  inline: boolean | undefined,
): string {
  if (row.value === undefined) {
    if (value !== undefined) throw new UsageError(`--${row.name} takes no value`);
    return '';
  }
  const looksLikeOption = inline !== true && value?.startsWith('--');
  if (value === undefined || value === '' || looksLikeOption) {
    throw new UsageError(`--${row.name} needs a value: --${row.name}=${row.value}`);
  }
  return value;
}

/** The option part of a `--help` text. */
export function describeOptions(rows: readonly OptionRow[]): string {
  return describeRows(
    rows.map(({ name, value, help }) => [
      value === undefined ? `--${name}` : `--${name}=${value}`,
      help,
    ]),
  );
}

/** Two columns, the second one aligned; line breaks in it keep the alignment. */
export function describeRows(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows
    .map(([left, right]) => {
      const indented = right.replaceAll('\n', `\n${' '.repeat(width + 2)}`);
      return `  ${left.padEnd(width)}${indented}`;
    })
    .join('\n');
}
