export * from './adopt-raw.js';
export * from './ip/ip-socket.js';
export * from './ip/open-ip.js';
export * from './open-raw.js';
export * from './raw-module.js';
export * from './raw-packet-socket.js';
export * from './raw-provider.js';
