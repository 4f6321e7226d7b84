export * from './features.js';
export * from './limits.js';
export * from './operation.js';
export * from './packet-header.js';
