/**
 * A program: an IP host behind a VLAN tag on an interface, for kernels without VLAN devices. It
 * answers ARP and pings. Arguments: interface, VLAN number, IP address.
 */
import { openRaw } from '@rxvhost/backend-raw';
import { LocalEvent, VhostNet } from '@rxvhost/core';
import {
  GuestMemoryArena,
  GuestNic,
  NetFeature,
  parseIp,
  parseMac,
  plugIn,
  TinyHost,
} from '@rxvhost/guest';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';

const MEMORY_SIZE = 2 * 1024 * 1024;
const TAGGED_LENGTH = 1518;
const TAG_AT = 12;
const TAG_LENGTH = 4;
const VLAN_TYPE = 0x8100;

const [ifname = '', vlan = '', address = ''] = process.argv.slice(2);
const tag = Buffer.alloc(TAG_LENGTH);
tag.writeUInt16BE(VLAN_TYPE, 0);
tag.writeUInt16BE(Number(vlan), 2);

const fd = createMemfd('tagged-host', MEMORY_SIZE);
const mapping = mapShared(fd, 0, MEMORY_SIZE);
closeFd(fd);
const region = { guestAddress: 0, userAddress: 0x7f00_0000_0000, size: MEMORY_SIZE, mapping };
const nic = new GuestNic(new GuestMemoryArena([region]), {
  features: NetFeature.VERSION_1,
  maxFrameLength: TAGGED_LENGTH,
  receiveBufferLength: 12 + TAGGED_LENGTH,
  makeEvent: () => new LocalEvent(),
});
plugIn(new VhostNet({ backends: openRaw({ ifname }) }), nic);

const host = new TinyHost(parseMac('52:54:00:00:00:99'), parseIp(address), (frame) => {
  const rest = frame.subarray(TAG_AT);
  nic.driver.send(Buffer.concat([frame.subarray(0, TAG_AT), tag, rest]));
});
nic.driver.frames$.subscribe((batch) => {
  for (const frame of batch) {
    const itsTag = Buffer.from(frame.subarray(TAG_AT, TAG_AT + TAG_LENGTH));
    if (!itsTag.equals(tag)) continue;
    host.receive(Buffer.concat([frame.subarray(0, TAG_AT), frame.subarray(TAG_AT + TAG_LENGTH)]));
  }
});
nic.start();
console.log('ready');
