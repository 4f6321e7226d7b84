export * from './carrier/packet-endpoint.js';
export * from './connection/roles.js';
export * from './connection/scheduler.js';
export * from './protocol/features.js';
export * from './protocol/limits.js';
export * from './protocol/operation.js';
export * from './protocol/packet-header.js';
