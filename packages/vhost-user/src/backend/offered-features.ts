import { VhostError, type VirtioDevice } from '@rxvhost/core';
import { BrokenStream } from '../channel/message-channel.js';
import { protocolFeatureNames, protocolFeatures } from '../protocol/features.js';

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
  if (device.setInflight) offered |= protocolFeatures('INFLIGHT_SHMFD');
  if (device.saveState && device.loadState) offered |= protocolFeatures('DEVICE_STATE');
  return offered;
}

/**
 * Throws `EOPNOTSUPP` for a feature that is not offered. In-band notifications without a channel to
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
  const needed = protocolFeatures('BACKEND_REQ', 'REPLY_ACK');
  const inBand = (features & protocolFeatures('INBAND_NOTIFICATIONS')) !== 0n;
  if (inBand && (features & needed) !== needed) {
    throw new BrokenStream(
      new VhostError('EPROTO', 'INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK'),
    );
  }
}
