import type { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Testpmd } from '@rxvhost/test/support/testpmd.js';

/** A DPDK vhost-user server in the place of ours: the peer that the benchmarks compare with. */
export interface DpdkServer {
  stop(): Promise<void>;
}

/** `net_vhost` in `rxonly`: copies every frame out of the guest and drops it. */
export async function startDpdkSink(socketPath: string, core: number): Promise<DpdkServer> {
  return await serve(
    await Testpmd.start({
      name: 'bench-sink',
      mode: 'rxonly',
      core,
      devices: [`net_vhost0,iface=${socketPath}`],
    }),
  );
}

/** `net_vhost` in `txonly`: gives the guest as many frames as it takes. */
export async function startDpdkSource(socketPath: string, core: number): Promise<DpdkServer> {
  return await serve(
    await Testpmd.start({
      name: 'bench-source',
      mode: 'txonly',
      core,
      devices: [`net_vhost0,iface=${socketPath}`],
    }),
  );
}

/** `net_vhost` in `io` on its one port: gives every frame back. */
export async function startDpdkLoop(socketPath: string, core: number): Promise<DpdkServer> {
  return await serve(
    await Testpmd.start({
      name: 'bench-loop',
      mode: 'io',
      core,
      devices: [`net_vhost0,iface=${socketPath}`],
      arguments: ['--port-topology=loop'],
    }),
  );
}

/** `net_vhost` to `net_tap`: forwards every frame to a tap that it makes in the namespace. */
export async function startDpdkTapForwarder(
  socketPath: string,
  core: number,
  namespace: NetworkNamespace,
  ifname: string,
): Promise<DpdkServer> {
  return await serve(
    await Testpmd.start({
      name: 'bench-tap',
      mode: 'io',
      core,
      devices: [`net_vhost0,iface=${socketPath}`, `net_tap0,iface=${ifname}`],
      inside: (command) => namespace.inside(command),
    }),
  );
}

/** `net_vhost` and `net_af_packet`: forwards every frame to an interface in the namespace, and back. */
export async function startDpdkPacketForwarder(
  socketPath: string,
  core: number,
  namespace: NetworkNamespace,
  ifname: string,
): Promise<DpdkServer> {
  return await serve(
    await Testpmd.start({
      name: 'bench-packet',
      mode: 'io',
      core,
      devices: [`net_vhost0,iface=${socketPath}`, `net_af_packet0,iface=${ifname}`],
      inside: (command) => namespace.inside(command),
    }),
  );
}

async function serve(testpmd: Testpmd): Promise<DpdkServer> {
  await testpmd.forward();
  return {
    stop: async () => {
      await testpmd.quit();
    },
  };
}
