/** `@rxvhost/core/testing`: what people who write backends test them with. */
export * from './backend-conformance.js';
export * from './conformance-options.js';
export * from './socket-peer.js';
