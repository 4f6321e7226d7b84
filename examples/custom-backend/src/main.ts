/**
 * Two guests in this process, each behind a NIC of its own. The NICs have nothing in common but a UDP
 * tunnel between them: what one guest sends travels over the machine's network to the other.
 */
import { ArrayBufferMapping, LocalEvent, type VhostNet } from '@rxvhost/core';
import { DRIVER_FEATURES, GuestMemoryArena, GuestNic, plugIn, TinyHost } from '@rxvhost/guest';
import { tunnelNic } from './tunnel-nic.js';

const PINGS = 20;
const MEMORY_SIZE = 4 * 1024 * 1024;
const [firstPort = 4801, secondPort = 4802] = process.argv.slice(2).map(Number);

const firstNic = await tunnelNic(firstPort, secondPort);
const secondNic = await tunnelNic(secondPort, firstPort);
const first = startGuest(firstNic, 1);
const second = startGuest(secondNic, 2);

const times: number[] = [];
for (let ping = 1; ping <= PINGS; ping += 1) {
  times.push(await first.ping(second.ip, 60 * ping));
}
const average = times.reduce((sum, time) => sum + time, 0) / PINGS;
const [receive, transmit] = firstNic.statistics().queues;
console.log(`10.0.0.1 -- udp ${firstPort} -- udp ${secondPort} -- 10.0.0.2`);
console.log(`${times.length} of ${PINGS} pings came back, ${average.toFixed(2)} ms on average`);
console.log(`the first NIC sent ${transmit?.frames} frames and received ${receive?.frames}`);
await Promise.all([firstNic.close(), secondNic.close()]);

/** A guest with memory, a driver and a small network stack, plugged into `nic`. */
function startGuest(nic: VhostNet, number: number): TinyHost {
  const mapping = new ArrayBufferMapping(new ArrayBuffer(MEMORY_SIZE));
  const region = { guestAddress: 0, userAddress: 0x7000_0000, size: MEMORY_SIZE, mapping };
  const features = DRIVER_FEATURES & nic.offeredFeatures;
  const card = new GuestNic(new GuestMemoryArena([region]), {
    features,
    makeEvent: () => new LocalEvent(),
  });
  const mac = Uint8Array.of(2, 0, 0, 0, 0, number);
  const host = new TinyHost(mac, Uint8Array.of(10, 0, 0, number), (frame) => {
    card.driver.send(frame);
  });
  card.driver.frames$.subscribe((batch) => {
    for (const frame of batch) host.receive(frame);
  });
  plugIn(nic, card);
  card.start();
  return host;
}
