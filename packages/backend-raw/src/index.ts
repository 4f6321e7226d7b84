export * from './adopt-raw.js';
export * from './open-raw.js';
export * from './raw-module.js';
export * from './raw-packet-socket.js';
export * from './raw-provider.js';
