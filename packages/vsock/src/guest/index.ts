export * from './guest-counters.js';
export * from './guest-device.js';
export * from './guest-vsock.js';
export * from './vhost-user-card.js';
export * from './vsock-card.js';
