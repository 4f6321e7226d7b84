import { join } from 'node:path';
import { eventfdRoundTrips, guestRoundTrips, type RoundTrips } from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import { withPlainGuest } from '../peers/plain-guest.js';
import type { Result } from '../result.js';
import { CLIENT_CORE, SERVER_CORE, type Settings } from '../settings.js';

const SIZE = 256;
const FIGURES = ['p50', 'p99', 'p999'] as const;

/** Kick to call through a NIC that loops frames back, beside two threads in C that wake each other. */
export async function kickToCall(settings: Settings): Promise<Result[]> {
  const own: RoundTrips[] = [];
  const peer: RoundTrips[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    peer.push(
      eventfdRoundTrips({
        seconds: settings.seconds,
        serverCore: SERVER_CORE,
        clientCore: CLIENT_CORE,
      }),
    );
    const socketPath = join(settings.folder, `round-trip${round}.sock`);
    const server = await OwnServer.start({
      socketPath,
      backend: 'loopback',
      core: SERVER_CORE,
      busyPoll: 0,
      profile: settings.profile,
    });
    own.push(await measure(socketPath, settings.seconds));
    await server.stop();
  }
  return FIGURES.map((name) => ({
    name: `kick to call, ${name === 'p999' ? 'p99.9' : name}`,
    unit: 'µs',
    better: 'less',
    own: own.map((trips) => trips[name] / 1000),
    peers: [
      { name: 'C, two eventfds and epoll', figures: peer.map((trips) => trips[name] / 1000) },
    ],
  }));
}

/** Half of the receive buffers are available from the start; the client adds one to each kick. */
async function measure(socketPath: string, seconds: number): Promise<RoundTrips> {
  const options = { size: SIZE, available: SIZE / 2, calls: true };
  return await withPlainGuest(socketPath, options, (guest) =>
    guestRoundTrips({ seconds, core: CLIENT_CORE, guest }),
  );
}
