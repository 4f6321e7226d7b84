import type { ConnectionUser } from './roles.js';

const nothing = () => {};

/** Who uses a connection before anybody does, and after. */
export const SILENT_USER: ConnectionUser = {
  connected: nothing,
  readable: nothing,
  writable: nothing,
  refusing: nothing,
  closed: nothing,
};
