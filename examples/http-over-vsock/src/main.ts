/**
 * HTTP over vsock, both ways: the host serves and its guest asks, then the other way round. Both are
 * in this process; what travels between them goes through virtqueues in the guest's memory.
 */
import { createHash } from 'node:crypto';
import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { HttpClient, serveHttp } from './http-over-vsock.js';
import { startMachine } from './machine.js';

const GUEST_CID = 42;
const HOST_CID = 2;
const PORT = 80;
const [requests = 1000] = process.argv.slice(2).map(Number);

const { host, guest, close } = await startMachine(GUEST_CID);

serveHttp(host, PORT, async (question, answer) => {
  const body = await text(question);
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
  answer.end(
    `${question.method} ${question.url} from CID ${question.socket.remoteAddress}: ${digest}`,
  );
});
const client = new HttpClient(guest, HOST_CID, PORT);
console.log(`guest asks: ${await client.fetch('/hello')}`);
console.log(`guest asks: ${await client.fetch('/upload', 'x'.repeat(1_000_000))}`);
const numbers = Array.from({ length: requests }, (_, index) => index);
const answers = await Promise.all(numbers.map((number) => client.fetch(`/${number}`)));
const right = answers.filter((answer, number) => answer.startsWith(`GET /${number} `)).length;
const { opened } = guest.endpoint.statistics();
console.log(`guest asks: ${right} of ${requests} requests answered, over ${opened} connections`);
client.close();

serveHttp(guest, PORT, (_question, answer) => answer.end('served inside the guest'));
const createConnection = () => host.connect({ cid: GUEST_CID, port: PORT });
const served = await new Promise<string>((resolve, reject) => {
  get({ path: '/', createConnection }, (answer) => text(answer).then(resolve, reject)).on(
    'error',
    reject,
  );
});
console.log(`host asks: ${served}`);
await close();
