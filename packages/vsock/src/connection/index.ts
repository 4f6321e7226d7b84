export * from './connection-options.js';
export * from './endpoint-options.js';
export * from './roles.js';
export * from './scheduler.js';
export * from './statistics.js';
export * from './vsock-endpoint.js';
export * from './vsock-events.js';
