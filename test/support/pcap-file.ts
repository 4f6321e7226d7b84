/**
 * Frames in a pcap file (libpcap's classic format, little-endian): how frames go into
 * testpmd and come out of it again. A header of 24 bytes, then for each frame a header of 16 bytes
 * with time, stored length and original length.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const MAGIC = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER_SIZE = 24;
const RECORD_HEADER_SIZE = 16;
const LINK_TYPE_ETHERNET = 1;

export function writePcap(path: string, frames: readonly Uint8Array[]): void {
  const header = Buffer.alloc(FILE_HEADER_SIZE);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt16LE(2, 4); // version 2.4
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(0xffff, 16); // longest frame
  header.writeUInt32LE(LINK_TYPE_ETHERNET, 20);
  const records = frames.flatMap((frame) => {
    const record = Buffer.alloc(RECORD_HEADER_SIZE);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  writeFileSync(path, Buffer.concat([header, ...records]));
}

export function readPcap(path: string): Buffer[] {
  const file = readFileSync(path);
  if (![MAGIC, MAGIC_NANOSECONDS].includes(file.readUInt32LE(0))) {
    throw new Error(`${path} is not a little-endian pcap file`);
  }
  const frames: Buffer[] = [];
  for (let offset = FILE_HEADER_SIZE; offset < file.length; ) {
    const length = file.readUInt32LE(offset + 8);
    const start = offset + RECORD_HEADER_SIZE;
    frames.push(file.subarray(start, start + length));
    offset = start + length;
  }
  return frames;
}
