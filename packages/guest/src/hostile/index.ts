/**
 * What a hostile guest may write, as fast-check arbitraries. Install `fast-check` to use this entry;
 * the main one does not need it.
 */
export * from './hostile-packed-queue.js';
export * from './hostile-queue.js';
export * from './packed-state.js';
export * from './packed-state-arbitrary.js';
export type { RawBuffer } from './raw-descriptor.js';
export * from './ring-state.js';
export * from './ring-state-arbitrary.js';
