import { execFileSync, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import {
  BROADCAST,
  buildEthernet,
  buildIpv4,
  NetFeature,
  parseIp,
  parseMac,
  TinyHost,
} from '@rxvhost/guest';
import { TestGuest } from '@rxvhost/guest/testing';
import { ip, sharedMemory, waitUntilUp } from '@rxvhost/sys/testing';
import type { Test } from 'tap';
import { openRaw, type RawOptions } from '../src/index.js';

export const GUEST_MAC = parseMac('52:54:00:00:00:01');
export const GUEST_IP = parseIp('10.78.0.2');
export const HOST_IP = parseIp('10.78.0.1');
export const PLAIN = 0x88b5;
export const TAGGED = 0x8100;

let pairs = 0;

/** A cable: the socket of a guest takes one end, the host's network stack has the other. */
export function makeVeth(t: Test, mtu = 1500): { guestEnd: string; hostEnd: string } {
  pairs += 1;
  const ends = { guestEnd: `guest${pairs}`, hostEnd: `host${pairs}` };
  ip(`link add ${ends.guestEnd} mtu ${mtu} type veth peer name ${ends.hostEnd} mtu ${mtu}`);
  for (const end of [ends.guestEnd, ends.hostEnd]) ip(`link set ${end} up`);
  for (const end of [ends.guestEnd, ends.hostEnd]) waitUntilUp(end);
  t.teardown(() => spawnSync('ip', ['link', 'delete', ends.guestEnd]));
  return ends;
}

export function openGuest(
  t: Test,
  options: RawOptions,
  features: bigint = NetFeature.VERSION_1,
): TestGuest {
  const guest = new TestGuest(openRaw(options), sharedMemory(), { features });
  t.teardown(() => guest.close());
  return guest;
}

/** An IP host on a guest's NIC, behind a VLAN tag where one is given. */
export function hostOn(
  guest: TestGuest,
  mac = GUEST_MAC,
  address = GUEST_IP,
  tag?: number,
): TinyHost {
  const host = new TinyHost(mac, address, (frame) => {
    guest.driver.send(tag === undefined ? frame : addTag(frame, tag));
  });
  guest.driver.frames$.subscribe((batch) => {
    for (const frame of batch) {
      if (tag === undefined) host.receive(frame);
      else if (tagOf(frame) === tag) host.receive(removeTag(frame));
    }
  });
  return host;
}

export const typeOf = (frame: Uint8Array) => ((frame[12] as number) << 8) | (frame[13] as number);
export const tagOf = (frame: Uint8Array) =>
  typeOf(frame) === TAGGED ? ((frame[14] as number) << 8) | (frame[15] as number) : undefined;
export const addTag = (frame: Uint8Array, tag: number) =>
  Buffer.concat([
    frame.subarray(0, 12),
    Uint8Array.from([TAGGED >> 8, TAGGED & 0xff, tag >> 8, tag & 0xff]),
    frame.subarray(12),
  ]);
export const removeTag = (frame: Uint8Array) =>
  Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]);

/** Lets frames leave an interface only at `rate`. */
export function slowDown(ifname: string, rate: string): void {
  const shape = `qdisc add dev ${ifname} root tbf rate ${rate} burst 16k limit 10m`;
  execFileSync('tc', shape.split(' '));
}

export const plainFrame = (length: number) =>
  buildEthernet(BROADCAST, GUEST_MAC, PLAIN, new Uint8Array(length - 14).fill(length));

/** A frame with a UDP datagram to port 9 in it. */
export function datagram(): Uint8Array {
  const udp = Buffer.alloc(8 + 100, 3);
  udp.writeUInt16BE(9, 2);
  udp.writeUInt16BE(udp.length, 4);
  const packet = buildIpv4({ source: HOST_IP, destination: GUEST_IP, protocol: 17, payload: udp });
  return buildEthernet(GUEST_MAC, BROADCAST, 0x0800, packet);
}

/** Sends a datagram out of the host's end, its UDP checksum left to the interface. */
export async function sendDatagram(bytes: number): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => {
    socket.send(new Uint8Array(bytes), 9, GUEST_IP.join('.'), () => resolve());
  });
  socket.close();
}
