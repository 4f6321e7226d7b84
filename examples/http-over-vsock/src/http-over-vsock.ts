import { createServer, type RequestListener, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type Vsock, VsockAgent, type VsockServer } from '@rxvhost/vsock';

/** Serves HTTP on a vsock port: an `http.Server` takes any stream for a connection. */
export function serveHttp(vsock: Vsock, port: number, listener: RequestListener): VsockServer {
  const http = createServer(listener);
  // HTTP servers answer clients that have ended their half, so sockets must stay half-open.
  const server = vsock.createServer({ allowHalfOpen: true }, (socket) => {
    http.emit('connection', socket);
  });
  return server.listen(port);
}

/** A client for one vsock port, in the style of `fetch`; its connections are kept and used again. */
export class HttpClient {
  readonly #agent: VsockAgent;

  constructor(vsock: Vsock, cid: number, port: number) {
    this.#agent = new VsockAgent(vsock, { cid, port }, { keepAlive: true, maxSockets: 50 });
  }

  /** Sends a request with `body`; resolves with the answer's text. Rejects unless it is a 200. */
  async fetch(path: string, body = ''): Promise<string> {
    const method = body === '' ? 'GET' : 'POST';
    return new Promise((resolve, reject) => {
      const question = request({ agent: this.#agent, method, path }, (answer) => {
        if (answer.statusCode === 200) text(answer).then(resolve, reject);
        else reject(new Error(`${path}: status ${answer.statusCode}`));
      });
      question.on('error', reject);
      question.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
