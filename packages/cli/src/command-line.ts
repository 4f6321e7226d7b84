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

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of an option that is given at most once. */
  get(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  /** The values of one that may be repeated, in order. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  add(name: string, value: string): void {
    this.#values.set(name, [...this.all(name), value]);
  }
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
  const known = new Map(rows.map((row) => [row.name, row]));
  const options = Object.fromEntries(
    rows.map(({ name, value }) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true });
  const given = new GivenOptions();
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      throw new UsageError(`unexpected argument '${token.value}': see ${command} --help`);
    }
    const row = known.get(token.name);
    if (row === undefined) {
      throw new UsageError(`unknown option ${token.rawName}: see ${command} --help`);
    }
    if (given.has(row.name) && row.repeats !== true)
      throw new UsageError(`--${row.name} is given twice: give it once`);
    given.add(row.name, givenValue(row, token.value, token.inlineValue));
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
