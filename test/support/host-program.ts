import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { Test } from 'tap';
import { pattern } from './pattern.js';

/** What came on a connection until its end. */
export interface Received {
  readonly bytes: number;
  readonly sha256: string;
}

/** Programs on the host that use a guest's vsock through its Unix sockets. */
export class HostPrograms {
  readonly #sockets = new Set<Socket>();

  /** @param path - the sockets' path, as for `--uds-path` */
  constructor(
    private readonly t: Test,
    private readonly path: string,
  ) {
    t.teardown(() => {
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  /** Listens on a port for the guest. */
  async listen(port: number, onConnection: (socket: Socket) => void): Promise<Server> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#keep(socket);
      onConnection(socket);
    });
    server.listen(`${this.path}_${port}`);
    this.t.teardown(() => server.close());
    await once(server, 'listening');
    return server;
  }

  /** The first connection of the guest's to a port. */
  async accept(port: number): Promise<Socket> {
    let accept: (socket: Socket) => void = () => {};
    const accepted = new Promise<Socket>((resolve) => {
      accept = resolve;
    });
    const server = await this.listen(port, (socket) => accept(socket));
    const socket = await accepted;
    server.close();
    return socket;
  }

  /** Connects to a port of the guest's; the socket is paused. Rejects when that is refused. */
  async connect(port: number): Promise<Socket> {
    const socket = connect({ path: this.path, allowHalfOpen: true });
    this.#keep(socket);
    socket.write(`CONNECT ${port}\n`);
    const answer = await new Promise<Buffer>((resolve, reject) => {
      socket.once('data', resolve);
      socket.once('end', () => reject(new Error(`port ${port} is refused`)));
      socket.once('error', reject);
    });
    socket.pause();
    const end = answer.indexOf('\n') + 1;
    if (!/^OK \d+\n$/.test(answer.toString('latin1', 0, end))) {
      throw new Error(`not an answer: ${answer}`);
    }
    if (end < answer.length) socket.unshift(answer.subarray(end));
    return socket;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
  }
}

/** Sends a pattern and then half-closes. */
export function sendPattern(socket: Socket, seed: number, bytes: number): void {
  Readable.from(pattern(seed, bytes)).pipe(socket);
}

/** Reads to the end. */
export async function receive(socket: Socket): Promise<Received> {
  const hash = createHash('sha256');
  let bytes = 0;
  socket.on('data', (piece: Buffer) => {
    bytes += piece.length;
    hash.update(piece);
  });
  socket.resume();
  await once(socket, 'end');
  return { bytes, sha256: hash.digest('hex') };
}
