import { dirname } from 'node:path';
import type { VhostError } from '@rxvhost/core';
import { EnvironmentError } from '../usage-error.js';
import type { Endpoint } from './endpoint.js';

/** Why the front-end cannot be met there, and what to do about it. */
export function explainEndpoint(endpoint: Endpoint, cause: VhostError): EnvironmentError {
  return new EnvironmentError(explain(endpoint, cause), { cause });
}

function explain(endpoint: Endpoint, cause: VhostError): string {
  switch (endpoint.kind) {
    case 'listen':
      return explainListen(endpoint.path, cause);
    case 'connect':
      return cause.message;
    case 'connected':
      return (
        `--fd=${endpoint.fd} cannot be served, ${cause.message}: let the parent process leave a ` +
        `connected Unix stream socket open as descriptor ${endpoint.fd}`
      );
  }
}

function explainListen(path: string, cause: VhostError): string {
  switch (cause.code) {
    case 'EADDRINUSE':
      return `${path} is in use by another server: stop that one, or choose another path`;
    case 'EEXIST':
      return `${path} exists and is no socket: remove it, or choose another path`;
    case 'ENOENT':
    case 'ENOTDIR':
      return `there is no directory ${dirname(path)}: make it with mkdir -p, or choose another path`;
    case 'EACCES':
    case 'EPERM':
      return `no permission to make a socket in ${dirname(path)}: choose another directory, or run as a user who may`;
    default:
      return cause.message;
  }
}
