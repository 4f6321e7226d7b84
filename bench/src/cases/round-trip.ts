import { join } from 'node:path';
import { eventfdRoundTrips, guestRoundTrips, type RoundTrips } from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import { withPlainGuest } from '../peers/plain-guest.js';
import type { Result } from '../result.js';
import { CLIENT_CORE, ON_SPLIT_RINGS, SERVER_CORE, type Settings } from '../settings.js';

const SIZE = 256;
const FIGURES = ['p50', 'p99', 'p999'] as const;

/** Kick to call through a NIC that loops frames back, beside two threads in C that wake each other. */
export async function kickToCall(settings: Settings): Promise<Result[]> {
  const own: RoundTrips[] = [];
  const peer: RoundTrips[] = [];
  const split: RoundTrips[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    peer.push(
      eventfdRoundTrips({
        seconds: settings.seconds,
        serverCore: SERVER_CORE,
        clientCore: CLIENT_CORE,
      }),
    );
    own.push(await throughRxvhost(settings, round, settings.packed));
    if (settings.packed) split.push(await throughRxvhost(settings, round, false));
  }
  return FIGURES.map((name) => {
    const micros = (trips: readonly RoundTrips[]) => trips.map((figures) => figures[name] / 1000);
    const peers = [{ name: 'C, two eventfds and epoll', figures: micros(peer) }];
    if (settings.packed) peers.push({ name: ON_SPLIT_RINGS, figures: micros(split) });
    return {
      name: `kick to call, ${name === 'p999' ? 'p99.9' : name}`,
      unit: 'µs',
      better: 'less',
      own: micros(own),
      peers,
    };
  });
}

async function throughRxvhost(
  { folder, seconds, profile }: Settings,
  round: number,
  packed: boolean,
): Promise<RoundTrips> {
  const socketPath = join(folder, `round-trip${round}.sock`);
  const server = await OwnServer.start({
    socketPath,
    backend: 'loopback',
    core: SERVER_CORE,
    busyPoll: 0,
    profile,
  });
  // Half of the receive buffers are available from the start; the client adds one to each kick.
  const options = { size: SIZE, available: SIZE / 2, calls: true, packed };
  const trips = await withPlainGuest(socketPath, options, (guest) =>
    guestRoundTrips({ seconds, core: CLIENT_CORE, guest }),
  );
  await server.stop();
  return trips;
}
