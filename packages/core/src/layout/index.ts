/** `@rxvhost/core/layout`: C structures in the machine's own byte order. */
export * from './struct-layout.js';
