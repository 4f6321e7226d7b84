import { Agent, type AgentOptions } from 'node:http';
import type { Duplex } from 'node:stream';
import type { SocketConnectOptions, Vsock } from './vsock.js';

/**
 * An `http.Agent` whose connections all go to one vsock port:
 *
 * ```ts
 * http.get({ agent: new VsockAgent(vsock, { cid: 2, port: 80 }), path: '/' });
 * ```
 */
export class VsockAgent extends Agent {
  constructor(
    private readonly vsock: Vsock,
    private readonly target: SocketConnectOptions,
    options?: AgentOptions,
  ) {
    super(options);
  }

  override createConnection(): Duplex {
    return this.vsock.connect(this.target);
  }
}
