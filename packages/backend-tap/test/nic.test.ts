import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { LocalEvent, VhostNet } from '@rxvhost/core';
import { DRIVER_FEATURES, GuestMemoryArena, GuestNic, plugIn } from '@rxvhost/guest';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import { firstValueFrom, map, timeout } from 'rxjs';
import t, { type Test } from 'tap';
import { openTap } from '../src/index.js';
import { arpRequest, isArpReply } from './frames.js';
import { insideNamespace, ip } from './namespace.js';

const MEMORY_SIZE = 4 * 1024 * 1024;
const WAIT = 300;

if (insideNamespace(import.meta.url)) {
  t.test(
    'T57 a readable tap without receive buffers costs no time, and goes on with the next kick',
    async (t) => {
      const { nic, card } = plugInto(t, 'starved0');
      await delay(20);
      const before = process.cpuUsage();
      sendToGuest('starved0', 3);
      const sent = process.cpuUsage(before);
      await delay(WAIT);
      const { user, system } = process.cpuUsage(before);
      const used = (user + system - sent.user - sent.system) / 1000;
      t.ok(used < WAIT / 3, `${used.toFixed(0)} ms of ${WAIT} ms busy`);
      t.equal(nic.statistics().queues[0]?.frames, 0);

      let received = 0;
      const all = new Promise<void>((resolve) => {
        card.driver.frames$.subscribe((batch) => {
          received += batch.count;
          if (received >= 3) resolve();
        });
      });
      card.start();
      await all;
      t.equal(received, 3, 'the frames that waited arrive');
      t.ok((nic.statistics().queues[0]?.starved ?? 0) > 0);
    },
  );

  t.test('a guest asks the host through the NIC and the tap, and hears its answer', async (t) => {
    const { card } = plugInto(t, 'asked0');
    card.start();
    const replies$ = card.driver.frames$.pipe(
      map((batch) => isArpReply(batch.frame(0), 0)),
      timeout(2000),
    );
    const answer = firstValueFrom(replies$);
    card.driver.send(arpRequest(0));
    t.ok(await answer);
  });

  t.test(
    'a tap that is deleted under a NIC is an error of that queue, and nothing more',
    async (t) => {
      const { nic, card } = plugInto(t, 'deleted0');
      const other = plugInto(t, 'other0', '10.78.0.1');
      card.start();
      other.card.start();
      const fault = firstValueFrom(nic.errors$.pipe(timeout(2000)));
      ip('link delete deleted0');
      t.match(await fault, { queue: 0, error: { code: 'EBADFD', message: /deleted0 is gone/ } });
      card.driver.send(arpRequest(0));
      card.driver.send(arpRequest(0));
      await delay(50);
      t.equal(nic.statistics().queues[1]?.drops.refused, 2, 'what the guest sends is counted');
      other.card.driver.send(arpRequest(0));
      await delay(50);
      t.equal(other.nic.statistics().queues[1]?.frames, 1, 'the NIC beside it goes on');
    },
  );
}

interface PluggedIn {
  readonly nic: VhostNet;
  readonly card: GuestNic;
}

/** A NIC on a new tap, and a guest in it that has not given any buffers yet. */
function plugInto(t: Test, ifname: string, address = '10.77.0.1'): PluggedIn {
  const tap = openTap({ ifname });
  ip(`address add ${address}/24 dev ${ifname}`);
  const nic = new VhostNet({ backends: tap });
  const fd = createMemfd('tap-nic-test', MEMORY_SIZE);
  const mapping = mapShared(fd, 0, MEMORY_SIZE);
  closeFd(fd);
  const region = { guestAddress: 0, userAddress: 0x7000_0000, size: MEMORY_SIZE, mapping };
  const card = new GuestNic(new GuestMemoryArena([region]), {
    features: DRIVER_FEATURES & nic.offeredFeatures,
    makeEvent: () => new LocalEvent(),
  });
  plugIn(nic, card);
  t.teardown(async () => {
    await nic.close();
    card.close();
    mapping.release();
  });
  return { nic, card };
}

/** Makes the host send frames to a guest that does not answer. */
function sendToGuest(ifname: string, count: number): void {
  ip(`neighbour add 10.77.0.2 lladdr 52:54:00:00:00:01 dev ${ifname}`);
  const options = ['-c', String(count), '-i', '0.01', '-W', '0.01'];
  spawnSync('ping', [...options, '10.77.0.2']);
}
