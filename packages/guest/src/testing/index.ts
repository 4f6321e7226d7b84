/** What tests of backends need: a whole guest in the same process. */
export * from './test-guest.js';
