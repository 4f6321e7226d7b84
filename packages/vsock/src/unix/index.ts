export * from './connect-line.js';
export * from './unix-gateway.js';
export * from './unix-relay.js';
