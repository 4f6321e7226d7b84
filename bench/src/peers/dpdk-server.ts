import type { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Testpmd, type TestpmdOptions } from '@rxvhost/test/support/testpmd.js';

/** A DPDK vhost-user server in the place of ours: the peer that the benchmarks compare with. */
export interface DpdkServer {
  stop(): Promise<void>;
}

/** `net_vhost` in `rxonly`: copies every frame out of the guest and drops it. */
export function startDpdkSink(socketPath: string, core: number): Promise<DpdkServer> {
  return serve(socketPath, { name: 'bench-sink', mode: 'rxonly', core });
}

/** `net_vhost` in `txonly`: gives the guest as many frames as it takes. */
export function startDpdkSource(socketPath: string, core: number): Promise<DpdkServer> {
  return serve(socketPath, { name: 'bench-source', mode: 'txonly', core });
}

/** `net_vhost` in `io` on its one port: gives every frame back. */
export function startDpdkLoop(socketPath: string, core: number): Promise<DpdkServer> {
  const loop = { arguments: ['--port-topology=loop'] };
  return serve(socketPath, { name: 'bench-loop', mode: 'io', core, ...loop });
}

/** `net_vhost` to `net_tap`: forwards every frame to a tap that it makes in the namespace. */
export function startDpdkTapForwarder(
  socketPath: string,
  core: number,
  namespace: NetworkNamespace,
  ifname: string,
): Promise<DpdkServer> {
  const inside = (command: readonly string[]) => namespace.inside(command);
  const how = { name: 'bench-tap', mode: 'io', core, inside } as const;
  return serve(socketPath, how, `net_tap0,iface=${ifname}`);
}

/** `net_vhost` and `net_af_packet`: forwards every frame to an interface in the namespace, and back. */
export function startDpdkPacketForwarder(
  socketPath: string,
  core: number,
  namespace: NetworkNamespace,
  ifname: string,
): Promise<DpdkServer> {
  const inside = (command: readonly string[]) => namespace.inside(command);
  const how = { name: 'bench-packet', mode: 'io', core, inside } as const;
  return serve(socketPath, how, `net_af_packet0,iface=${ifname}`);
}

/** Serves the socket and forwards, to another device where there is one. */
async function serve(
  socketPath: string,
  how: Omit<TestpmdOptions, 'devices'>,
  ...others: readonly string[]
): Promise<DpdkServer> {
  const devices = [`net_vhost0,iface=${socketPath}`, ...others];
  const testpmd = await Testpmd.start({ ...how, devices });
  await testpmd.forward();
  return {
    stop: async () => {
      await testpmd.quit();
    },
  };
}
