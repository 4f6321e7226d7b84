import { type GivenOption, GivenOptions } from '../command-line.js';
import { ENDPOINT_OPTIONS, SERVICE_OPTIONS } from '../front-end/endpoint.js';
import { UsageError } from '../usage-error.js';

const BEGINS_A_CARD = new Set(ENDPOINT_OPTIONS.map(({ name }) => name));
/** Options of a card among those that say how it is served. */
const OF_A_CARD = new Set(['queue-size']);
/** Options of the command, wherever they stand. */
const OF_THE_COMMAND = new Set([
  'workers',
  ...SERVICE_OPTIONS.map(({ name }) => name).filter((name) => !OF_A_CARD.has(name)),
]);

/** The options of one card, or of several. */
export interface CardGroups {
  /** Of the command. */
  readonly command: GivenOptions;
  /** Of each card, with those that hold for all. */
  readonly cards: readonly GivenOptions[];
}

/**
 * Deals options out to cards. One card has all of them, in any order. Where the front-end's place is
 * given several times, each begins a card, which has what stands behind it; what stands before the
 * first one holds for all that have nothing else. Throws {@link UsageError}.
 */
export function groupByCard(given: readonly GivenOption[]): CardGroups {
  const places = given.filter(({ row }) => BEGINS_A_CARD.has(row.name));
  const [first] = places;
  if (places.some(({ row }) => row !== first?.row)) {
    throw new UsageError(
      '--socket-path, --connect-path and --fd exclude each other: use one of them for all cards',
    );
  }
  const common = new GivenOptions();
  const several = places.length > 1;
  const cards: GivenOptions[] = several ? [] : [common];
  let card = common;
  for (const option of given) {
    const { name } = option.row;
    if (several && BEGINS_A_CARD.has(name)) {
      card = new GivenOptions(common);
      cards.push(card);
    }
    (OF_THE_COMMAND.has(name) ? common : card).add(option);
    if (several && card === common && name === 'mac') {
      throw new UsageError(
        `each card needs an address of its own: give --mac after its --${first?.row.name}`,
      );
    }
  }
  return { command: common, cards };
}
