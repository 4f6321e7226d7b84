import { release } from 'node:os';
import { GUEST_OFFLOADS, HOST_OFFLOADS, NET_FEATURE, type SocketOffloads } from '@rxvhost/core';

const USO = NET_FEATURE.HOST_USO | NET_FEATURE.GUEST_USO4 | NET_FEATURE.GUEST_USO6;

/**
 * What a packet socket with the virtio-net header can leave unfinished: everything that the header can
 * describe, but no fragments of UDP, which the kernel takes and never gives. There is no telling it
 * what the driver has accepted: what it gives is unfinished where that saves the host work, and the
 * device finishes what the driver does not take.
 */
export const RAW_OFFLOADS: SocketOffloads = {
  supported: supportedOffloads(release()),
  accept() {},
  fixed: true,
};

/** @param kernel - the kernel's version, as `uname -r` prints it; UDP segmentation came with 6.2 */
export function supportedOffloads(kernel: string): bigint {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const all = (HOST_OFFLOADS | GUEST_OFFLOADS) & ~NET_FEATURE.GUEST_UFO;
  return major > 6 || (major === 6 && minor >= 2) ? all : all & ~USO;
}
