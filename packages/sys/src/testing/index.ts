/** What tests of backends need: guest memory that native code reaches, and a network of their own. */
export * from './frame-buffers.js';
export * from './private-network.js';
export * from './shared-memory.js';
