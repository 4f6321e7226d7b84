import type { VhostNetOptions } from '@rxvhost/core';
import type { BackendFactory, BackendPlan } from '../backends/backend-factory.js';
import { planBackend } from '../backends/backend-spec.js';
import { type GivenOptions, type OptionRow, readOptions } from '../command-line.js';
import {
  ENDPOINT_OPTIONS,
  type Endpoint,
  nameEndpoint,
  parseEndpoint,
  SERVICE_OPTIONS,
} from '../front-end/endpoint.js';
import { parseRings, RINGS_OPTION } from '../front-end/ring-list.js';
import { UsageError } from '../usage-error.js';
import { parseMac, parseMtu, parseQueueSize, parseWorkers } from '../values.js';
import { groupByCard } from './card-groups.js';
import { OFFLOAD_ITEMS, parseOffloads } from './offload-list.js';

/** One card. */
export interface CardOptions {
  readonly endpoint: Endpoint;
  readonly backend: BackendPlan;
  /** The backend as it was written, for another thread to read. */
  readonly spec: string;
  /** MAC, MTU and queue size, as far as they were given. */
  readonly nic: VhostNetOptions;
}

/** What `rxvhost net` was asked to do. */
export interface NetOptions {
  /** One at least. */
  readonly cards: readonly CardOptions[];
  /** Worker threads; undefined: the main thread serves. */
  readonly workers: number | undefined;
  readonly once: boolean;
  readonly stats: boolean;
}

export const NET_OPTIONS: readonly OptionRow[] = [
  ...ENDPOINT_OPTIONS,
  { name: 'backend', value: 'SPEC', help: 'what the NIC is attached to: see below' },
  { name: 'mac', value: 'ADDRESS', help: 'MAC address that the device reports' },
  {
    name: 'mtu',
    value: 'BYTES',
    help: 'MTU that the device reports, 68 to 65535; a tap made here gets it too',
  },
  {
    name: 'offloads',
    value: 'LIST',
    help:
      'offloads to offer or, with -, not to offer (those that the backend gives), such as\n' +
      '-host-ufo,-host-uso or none,csum,host-tso4. Without a base nothing that depends on it.\n' +
      `Names: none, ${OFFLOAD_ITEMS.slice(0, 7).join(', ')},\n${OFFLOAD_ITEMS.slice(7).join(', ')}`,
  },
  RINGS_OPTION,
  {
    name: 'control-queue',
    help:
      'offer a control queue: receive filters, RSS and so on. Only for front-ends that pass it on;\n' +
      'QEMU keeps it to itself, and would filter nothing',
  },
  {
    name: 'iommu',
    help: 'let the guest put the NIC behind a virtual IOMMU (QEMU: iommu_platform=on,ats=on)',
  },
  {
    name: 'workers',
    value: 'N',
    help: 'serve the cards in N threads of their own, 1 to 256, each in the one that has the fewest',
  },
  ...SERVICE_OPTIONS,
];

/** Reads and checks the arguments of `rxvhost net`. Throws {@link UsageError}. */
export function parseNetOptions(
  argv: readonly string[],
  factories: readonly BackendFactory[],
): NetOptions {
  const { command, cards } = groupByCard(readOptions('rxvhost net', NET_OPTIONS, argv));
  const workers = command.get('workers');
  const options = {
    cards: cards.map((given) => parseCard(given, factories)),
    workers: workers === undefined ? undefined : parseWorkers(workers),
    once: command.has('once'),
    stats: command.has('stats'),
  };
  check(options);
  return options;
}

function parseCard(given: GivenOptions, factories: readonly BackendFactory[]): CardOptions {
  const endpoint = parseEndpoint(given);
  const spec = given.get('backend');
  if (spec === undefined) {
    const forms = factories.map(({ form }) => form).join(', ');
    throw new UsageError(
      `what is the NIC at ${nameEndpoint(endpoint)} attached to? Give --backend= one of ${forms}`,
    );
  }
  return { endpoint, backend: planBackend(spec, factories), spec, nic: parseNic(given) };
}

/** What cannot be seen of one card alone. */
function check({ cards, workers }: NetOptions): void {
  const names = new Set<string>();
  for (const { endpoint, backend } of cards) {
    const name = nameEndpoint(endpoint);
    if (names.has(name)) {
      throw new UsageError(`${name} is given twice: each card needs one of its own`);
    }
    names.add(name);
    if (workers !== undefined && backend.mainThreadOnly) {
      throw new UsageError(
        `backend ${backend.description} works on the main thread only: leave --workers out, ` +
          'or serve this card by a command of its own',
      );
    }
  }
}

function parseNic(given: GivenOptions): VhostNetOptions {
  const mac = given.get('mac');
  const mtu = given.get('mtu');
  const queueSize = given.get('queue-size');
  const offloads = given.get('offloads');
  const rings = given.get('rings');
  return {
    ...(mac === undefined ? {} : { mac: parseMac(mac) }),
    ...(mtu === undefined ? {} : { mtu: parseMtu(mtu) }),
    ...(offloads === undefined ? {} : { offloads: parseOffloads(offloads) }),
    ...(rings === undefined ? {} : { rings: parseRings(rings) }),
    ...(given.has('control-queue') ? { controlQueue: true } : {}),
    ...(given.has('iommu') ? { iommu: true } : {}),
    ...(queueSize === undefined ? {} : { maxQueueSize: parseQueueSize(queueSize) }),
  };
}
