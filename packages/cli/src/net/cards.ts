import type { NetStatistics, VhostNet } from '@rxvhost/core';
import { DeviceWorkers, type ServeOptions, type WorkerServer } from '@rxvhost/vhost-user';
import type { Container } from 'inversify';
import { createNic } from '../container.js';
import { nameEndpoint } from '../front-end/endpoint.js';
import { inThisThread, type RunningDevice, type ServedDevice } from '../front-end/serve-devices.js';
import { EnvironmentError } from '../usage-error.js';
import type { CardOptions } from './net-options.js';
import type { CardRequest } from './net-worker.js';

/** The cards of one `rxvhost net`, wherever they are served. */
export interface NetCards {
  readonly served: readonly ServedDevice[];
  /** Of one card its counters, of several an object of them by the front-end's place. */
  statistics(): Promise<unknown>;
  /** After the cards have closed. */
  close(): Promise<void>;
}

/** Cards that the main thread serves. Throws what a backend throws, with nothing left open. */
export async function cardsHere(
  container: Container,
  options: readonly CardOptions[],
): Promise<NetCards> {
  const cards: { readonly nic: VhostNet; readonly options: CardOptions }[] = [];
  try {
    for (const card of options) {
      const nic = createNic(container, card.backend.open(card.nic.mtu), card.nic);
      cards.push({ nic, options: card });
    }
  } catch (error) {
    await Promise.all(cards.map(({ nic }) => nic.close()));
    throw error;
  }
  return {
    served: cards.map(({ nic, options: card }) => ({
      ...inThisThread(nic),
      ...describe(card, options),
    })),
    statistics: () => statisticsOf(cards, ({ nic }) => nic.statistics()),
    close: async () => {},
  };
}

/** Cards that worker threads make and serve. */
export function cardsInWorkers(options: readonly CardOptions[], workers: number): NetCards {
  const module = new URL('./net-worker.js', import.meta.url);
  const pool = new DeviceWorkers<CardRequest>({ module, workers });
  const cards = options.map((card) => new WorkerCard(pool, card));
  return {
    served: cards.map((card) => ({
      serve: (where) => card.serve(where),
      close: async () => {},
      ...describe(card.options, options),
    })),
    statistics: () => statisticsOf(cards, (card) => card.statistics()),
    close: () => pool.close(),
  };
}

/** A card in a worker thread, before and after there is one. */
class WorkerCard {
  #server: WorkerServer<NetStatistics> | undefined;

  constructor(
    private readonly pool: DeviceWorkers<CardRequest>,
    readonly options: CardOptions,
  ) {}

  async serve(where: ServeOptions): Promise<RunningDevice> {
    const { spec, nic } = this.options;
    const server = await this.pool.serve({ spec, nic }, where).catch((error: unknown) => {
      throw refusedBackend(error) ?? error;
    });
    this.#server = server;
    return { server, errors$: server.device.errors$ };
  }

  /** Null where there are none: the card is not there yet, or its worker ended without telling. */
  async statistics(): Promise<NetStatistics | null> {
    return (await this.#server?.device.statistics().catch(() => null)) ?? null;
  }
}

/** What the worker's `EnvironmentError` has become on its way: the cause of another error. */
function refusedBackend(error: unknown): EnvironmentError | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error) || cause.name !== EnvironmentError.name) return undefined;
  return new EnvironmentError(cause.message, { cause });
}

function describe({ endpoint, backend }: CardOptions, all: readonly CardOptions[]) {
  const label = all.length > 1 ? { label: nameEndpoint(endpoint) } : {};
  return { endpoint, what: `backend ${backend.description}`, ...label };
}

async function statisticsOf<Card extends { readonly options: CardOptions }>(
  cards: readonly Card[],
  count: (card: Card) => unknown,
): Promise<unknown> {
  const counted = await Promise.all(cards.map(count));
  if (cards.length === 1) return counted[0];
  return Object.fromEntries(
    cards.map(({ options: { endpoint } }, index) => [nameEndpoint(endpoint), counted[index]]),
  );
}
