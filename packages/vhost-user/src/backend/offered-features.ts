import { VhostError, type VirtioDevice } from '@rxvhost/core';
import { BrokenStream } from '../channel/message-channel.js';
import { hasFeature, protocolFeatureNames, protocolFeatures } from '../protocol/features.js';

/** What every device can do over vhost-user. */
const ALWAYS = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CROSS_ENDIAN',
  'CONFIG',
  'RESET_DEVICE',
  'INBAND_NOTIFICATIONS',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
  'GPA_ADDRESSES',
);

/** The protocol features for a device: some need something that not every device has. */
export function offeredProtocolFeatures(device: VirtioDevice): bigint {
  let offered = ALWAYS;
  if (device.setMtu) offered |= protocolFeatures('MTU');
  if (device.announce) offered |= protocolFeatures('RARP');
  // Nothing is left in flight by a GET_VRING_BASE of ours, which a front-end that could live with it
  // does not mind: a frame that a backend has in its hands cannot be called back.
  if (device.setInflight) offered |= protocolFeatures('INFLIGHT_SHMFD', 'GET_VRING_BASE_INFLIGHT');
  if (device.saveState && device.loadState) offered |= protocolFeatures('DEVICE_STATE');
  return offered;
}

/**
 * Throws `EOPNOTSUPP` for a feature that is not offered, `EINVAL` for GET_VRING_BASE_INFLIGHT without
 * the memory that it is about. In-band notifications without a channel to
 * send them on, or without acknowledgements, end the connection, as the specification wants it.
 */
export function checkProtocolFeatures(features: bigint, offered: bigint): void {
  const unknown = features & ~offered;
  if (unknown !== 0n) {
    throw new VhostError(
      'EOPNOTSUPP',
      `protocol features not offered: ${protocolFeatureNames(unknown).join(', ')}`,
    );
  }
  if (hasFeature(features, 'GET_VRING_BASE_INFLIGHT') && !hasFeature(features, 'INFLIGHT_SHMFD')) {
    throw new VhostError('EINVAL', 'GET_VRING_BASE_INFLIGHT without INFLIGHT_SHMFD');
  }
  const needed = protocolFeatures('BACKEND_REQ', 'REPLY_ACK');
  if (hasFeature(features, 'INBAND_NOTIFICATIONS') && (features & needed) !== needed) {
    throw new BrokenStream(
      new VhostError('EPROTO', 'INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK'),
    );
  }
}
