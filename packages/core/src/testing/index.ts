/** `@rxvhost/core/testing`: what people who write backends test them with. */
export * from './backend-conformance.js';
export * from './conformance-options.js';
export type { RingLayout } from './frame-ring.js';
export * from './socket-peer.js';
