import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  BackendChain,
  NET_REQUESTS as R,
  type RegionDescription,
  type Structure,
  U64,
  VhostNet,
  VRING_ADDRESS,
  VRING_FILE,
  VRING_STATE,
} from '@rxvhost/core';
import { DRIVER_FEATURES, GuestMemoryArena, GuestNic } from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared, openEventFd } from '@rxvhost/sys';
import { filter, firstValueFrom, timeout } from 'rxjs';
import t from 'tap';
import { TapProvider } from '../src/index.js';
import { arpRequest, isArpReply } from './frames.js';
import { insideNamespace, ip, openDevice } from './namespace.js';

const MEMORY_SIZE = 4 * 1024 * 1024;
const TAP_WITH_HEADER = 0x5002;
const USER_ADDRESS = 0x7000_0000;

/** A guest in shared memory whose events are eventfds: all that a VMM hands to `/dev/vhost-net`. */
function makeGuest() {
  const fd = createMemfd('request-test', MEMORY_SIZE);
  const mapping = mapShared(fd, 0, MEMORY_SIZE);
  closeFd(fd);
  const region = {
    guestAddress: 0x10_0000,
    userAddress: USER_ADDRESS,
    size: MEMORY_SIZE,
    mapping,
  };
  const card = new GuestNic<EventFd>(new GuestMemoryArena([region]), {
    features: DRIVER_FEATURES & (1n << 32n),
    makeEvent: () => new EventFd(),
  });
  return { mapping, region, card };
}

/** `struct vhost_memory` with one region. */
function memoryTable({ guestAddress, size, userAddress }: RegionDescription): Uint8Array {
  const fields = [1n, BigInt(guestAddress), BigInt(size), BigInt(userAddress), 0n];
  return new Uint8Array(BigUint64Array.from(fields).buffer);
}

const openFds = () => readdirSync('/proc/self/fd').length;

/** The fds that are open, once those that the event loop is closing are gone. */
async function settledFds(most: number): Promise<number> {
  for (let round = 0; openFds() > most && round < 100; round += 1) await delay(5);
  return openFds();
}

if (insideNamespace(import.meta.url)) {
  t.test(
    'A14 C10 a NIC brought up by ioctl alone, on a tap and eventfds, hears the host answer',
    async (t) => {
      const guest = makeGuest();
      const { card, region } = guest;
      const tap = openDevice('ioctl0', TAP_WITH_HEADER);
      ip('address add 10.77.0.1/24 dev ioctl0');
      ip('link set ioctl0 up');
      const before = openFds();

      const providers = new BackendChain([new TapProvider()]);
      const nic = new VhostNet({ providers, eventPort: openEventFd });
      nic.userMemory.register(USER_ADDRESS, guest.mapping);
      const send = async <T>(row: { readonly code: number }, structure?: Structure<T>, value?: T) =>
        t.equal(await nic.ioctl(row.code, structure?.encode(value as T)), 0);
      await send(R.SET_OWNER);
      await send(R.SET_FEATURES, U64, card.features);
      t.equal(await nic.ioctl(R.SET_MEM_TABLE.code, memoryTable(region)), 0);
      for (const { index, queue, addresses, kick, call } of card.rings) {
        await send(R.SET_VRING_NUM, VRING_STATE, { index, num: queue.size });
        await send(R.SET_VRING_BASE, VRING_STATE, { index, num: 0 });
        await send(R.SET_VRING_ADDR, VRING_ADDRESS, {
          index,
          flags: 0,
          descriptors: BigInt(addresses.descriptorTable),
          used: BigInt(addresses.usedRing),
          available: BigInt(addresses.availableRing),
          log: 0n,
        });
        await send(R.SET_VRING_KICK, VRING_FILE, { index, fd: kick.fd });
        await send(R.SET_VRING_CALL, VRING_FILE, { index, fd: call.fd });
        await send(R.NET_SET_BACKEND, VRING_FILE, { index, fd: tap });
      }
      card.start();
      const answer = firstValueFrom(
        card.driver.frames$.pipe(
          filter((batch) => isArpReply(batch.frame(0), 0)),
          timeout(5000),
        ),
      );
      card.driver.send(arpRequest(0));
      await t.resolves(answer);

      const wrong = VRING_FILE.encode({ index: 0, fd: tap });
      t.equal(await nic.ioctl(R.SET_VRING_CALL.code, wrong), -22, 'a tap is no eventfd');
      const closed = VRING_FILE.encode({ index: 0, fd: 9999 });
      t.equal(await nic.ioctl(R.SET_VRING_CALL.code, closed), -9);
      await send(R.RESET_OWNER);
      await nic.close();
      t.equal(
        await settledFds(before),
        before,
        'no fd is left over, and none of the caller’s gone',
      );
      card.close();
      guest.mapping.release();
      closeFd(tap);
    },
  );
}
