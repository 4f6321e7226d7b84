import { measureTcp, type Throughput } from '@rxvhost/test/support/iperf.js';
import type { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Guest, type GuestOptions } from '@rxvhost/test/support/qemu.js';
import type { Settings } from '../settings.js';

/** A tap in a network namespace, and the IPv4 addresses of both its ends. */
export interface TapNetwork {
  readonly namespace: NetworkNamespace;
  readonly tap: string;
  readonly host: string;
  readonly guest: string;
}

type GuestSettings = Pick<Settings, 'seconds' | 'packed'>;

/** TCP both ways between the host and a guest of QEMU whose card leads to the tap, which exists. */
export async function measureOverTap(
  { namespace, tap, host, guest: address }: TapNetwork,
  { seconds, packed }: GuestSettings,
  options: GuestOptions,
): Promise<Throughput> {
  namespace.ip('address', 'add', `${host}/24`, 'dev', tap);
  namespace.ip('link', 'set', tap, 'up');
  const guest = await Guest.start({ ...options, device: packed ? ['packed=on'] : [] });
  try {
    await guest.check(`ip addr add ${address}/24 dev eth0 && ip link set eth0 up`);
    await guest.check(`ping -c 1 -W 5 ${host} || ping -c 1 -W 5 ${host}`);
    return await measureTcp(guest, host, seconds);
  } finally {
    await guest.kill();
  }
}

/** The same with a card of QEMU's own: what its users have without a back-end. */
export async function measureQemuTap(
  network: TapNetwork,
  settings: GuestSettings,
): Promise<Throughput> {
  const { namespace, tap } = network;
  namespace.ip('tuntap', 'add', 'dev', tap, 'mode', 'tap');
  try {
    const inside = (command: readonly string[]) => namespace.inside(command);
    return await measureOverTap(network, settings, { tap: { ifname: tap, inside } });
  } finally {
    namespace.ip('link', 'delete', tap);
  }
}
