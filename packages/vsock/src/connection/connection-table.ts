import type { VsockConnection } from './vsock-connection.js';

/**
 * Connections by our port, the peer's port and the peer's address. Looking one up makes no object;
 * the connection of the packet before is tried first.
 */
export class ConnectionTable {
  /** By our port, then by the peer's port: mostly one, more when several machines use the same port. */
  readonly #ports = new Map<number, Map<number, VsockConnection[]>>();
  #latest: VsockConnection | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** True when a connection uses this port of ours. */
  usesPort(port: number): boolean {
    return this.#ports.has(port);
  }

  find(localPort: number, remotePort: number, remoteCid: number): VsockConnection | undefined {
    const latest = this.#latest;
    if (latest !== undefined && isBetween(latest, localPort, remotePort, remoteCid)) return latest;
    const row = this.#ports.get(localPort)?.get(remotePort);
    if (row === undefined) return undefined;
    for (const connection of row) {
      if (connection.remote.cid !== remoteCid) continue;
      this.#latest = connection;
      return connection;
    }
    return undefined;
  }

  add(connection: VsockConnection): void {
    const { local, remote } = connection;
    let peers = this.#ports.get(local.port);
    if (peers === undefined) {
      peers = new Map();
      this.#ports.set(local.port, peers);
    }
    const row = peers.get(remote.port);
    if (row === undefined) peers.set(remote.port, [connection]);
    else row.push(connection);
    this.#size += 1;
  }

  /** Takes a connection out; does nothing when it is not in. */
  remove(connection: VsockConnection): void {
    const { local, remote } = connection;
    const peers = this.#ports.get(local.port);
    const row = peers?.get(remote.port);
    const index = row?.indexOf(connection) ?? -1;
    if (peers === undefined || row === undefined || index < 0) return;
    row.splice(index, 1);
    if (row.length === 0) peers.delete(remote.port);
    if (peers.size === 0) this.#ports.delete(local.port);
    if (this.#latest === connection) this.#latest = undefined;
    this.#size -= 1;
  }

  /** All connections, as they are now. */
  all(): VsockConnection[] {
    return [...this.#ports.values()].flatMap((peers) => [...peers.values()].flat());
  }
}

function isBetween(
  { local, remote }: VsockConnection,
  localPort: number,
  remotePort: number,
  remoteCid: number,
): boolean {
  return local.port === localPort && remote.port === remotePort && remote.cid === remoteCid;
}
