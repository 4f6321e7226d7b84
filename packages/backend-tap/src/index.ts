export * from './adopt-tap.js';
export * from './interface-name.js';
export * from './open-tap.js';
export * from './tap-module.js';
export * from './tap-offloads.js';
export * from './tap-provider.js';
export * from './tap-socket.js';
