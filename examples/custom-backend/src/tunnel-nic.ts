import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { BACKEND, coreModule, netModule, type PacketSocket, VhostNet } from '@rxvhost/core';
import { Container } from 'inversify';
import { UdpTunnel } from './udp-tunnel.js';

/** A NIC whose cable is a UDP tunnel between two ports of this machine. */
export async function tunnelNic(localPort: number, remotePort: number): Promise<VhostNet> {
  const udp = createSocket('udp4').bind(localPort, '127.0.0.1');
  await once(udp, 'listening');
  udp.connect(remotePort, '127.0.0.1');
  await once(udp, 'connect');

  const container = new Container();
  container.load(coreModule, netModule);
  container.bind<PacketSocket>(BACKEND).toConstantValue(new UdpTunnel(udp));
  return container.get(VhostNet);
}
