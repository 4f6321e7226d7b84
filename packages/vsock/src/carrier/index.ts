export * from './link.js';
export * from './packet-endpoint.js';
