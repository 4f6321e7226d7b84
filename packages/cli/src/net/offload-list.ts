import {
  OFFLOAD_NAMES,
  type OffloadName,
  type OffloadSwitches,
  offeredOffloads,
  VhostError,
} from '@rxvhost/core';
import { UsageError } from '../usage-error.js';

const SWITCH_OF = new Map<string, OffloadName>(OFFLOAD_NAMES.map((name) => [itemOf(name), name]));

/** What `--offloads` can name: `csum`, `host-tso4`, … */
export const OFFLOAD_ITEMS: readonly string[] = [...SWITCH_OF.keys()];

/**
 * Reads `none,csum,host-tso4` or `-host-ufo,-status`, from left to right: `none` switches everything
 * off, a name switches on, `-` and a name switches off, and with it what depends on it. What is not
 * mentioned stays as the backend allows. Throws {@link UsageError}.
 */
export function parseOffloads(text: string): OffloadSwitches {
  const switches: { [name in OffloadName]?: boolean } = {};
  for (const item of text.split(',')) {
    if (item === 'none') {
      for (const name of OFFLOAD_NAMES) switches[name] = false;
      continue;
    }
    const off = item.startsWith('-');
    const name = SWITCH_OF.get(off ? item.slice(1) : item);
    if (name === undefined) {
      throw new UsageError(
        `--offloads: '${item}' is not known: use none, ${OFFLOAD_ITEMS.join(', ')}`,
      );
    }
    switches[name] = !off;
  }
  checkBases(switches);
  return switches;
}

function checkBases(switches: OffloadSwitches): void {
  try {
    offeredOffloads(switches, []);
  } catch (error) {
    if (!(error instanceof VhostError)) throw error;
    throw new UsageError(
      '--offloads: the host- ones need csum, the guest- ones guest-csum, and ecn a tso of its side',
      { cause: error },
    );
  }
}

/** `host-tso4` for `hostTso4`. */
function itemOf(name: OffloadName): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
