import type { RingSwitches } from '@rxvhost/core';
import type { OptionRow } from '../command-line.js';
import { UsageError } from '../usage-error.js';

const SWITCH_OF = new Map<string, keyof RingSwitches>([
  ['packed', 'packed'],
  ['in-order', 'inOrder'],
  ['reset', 'reset'],
]);

/** What `--rings` can name. */
const RING_ITEMS: readonly string[] = [...SWITCH_OF.keys()];

/** The option of every device with rings. */
export const RINGS_OPTION: OptionRow = {
  name: 'rings',
  value: 'LIST',
  help:
    'ways to use a ring to offer or, with -, not to offer (each is), such as -packed or none,reset.\n' +
    `Names: none, ${RING_ITEMS.join(', ')}`,
};

/**
 * Reads `-packed,-in-order` or `none,reset`, from left to right: `none` switches everything off, a
 * name switches on, `-` and a name switches off. What is not mentioned is offered. Throws
 * {@link UsageError}.
 */
export function parseRings(text: string): RingSwitches {
  const switches: Partial<Record<keyof RingSwitches, boolean>> = {};
  for (const item of text.split(',')) {
    if (item === 'none') {
      for (const name of SWITCH_OF.values()) switches[name] = false;
      continue;
    }
    const off = item.startsWith('-');
    const name = SWITCH_OF.get(off ? item.slice(1) : item);
    if (name === undefined) {
      throw new UsageError(`--rings: '${item}' is not known: use none, ${RING_ITEMS.join(', ')}`);
    }
    switches[name] = !off;
  }
  return switches;
}
