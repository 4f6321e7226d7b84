import type { EndpointStatistics, VsockStatistics } from '@rxvhost/vsock';
import type { GatewayCounters } from '@rxvhost/vsock/unix';
import { CliServer } from './cli-server.js';

export interface VsockServerOptions {
  readonly socketPath: string;
  readonly guestCid: number;
  /** The Unix socket for programs of the host's. */
  readonly udsPath: string;
  /** More arguments of `rxvhost vsock`. */
  readonly arguments?: readonly string[];
}

/** What `rxvhost vsock` tells of its one guest. */
export interface VsockServerStatistics {
  readonly device: VsockStatistics;
  readonly connections: EndpointStatistics;
  readonly host: GatewayCounters;
}

/** The `rxvhost vsock` command. */
export class VsockServer extends CliServer<VsockServerStatistics> {
  static start(options: VsockServerOptions): Promise<VsockServer> {
    const { socketPath, guestCid, udsPath } = options;
    const given = [
      `--socket-path=${socketPath}`,
      `--guest-cid=${guestCid}`,
      `--uds-path=${udsPath}`,
    ];
    return new VsockServer('vsock', [...given, ...(options.arguments ?? [])]).listening();
  }
}
