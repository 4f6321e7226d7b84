import { loopback, VhostNet } from '@rxvhost/core';
import { serve } from '@rxvhost/vhost-user';

const nic = new VhostNet({ backends: loopback() });
nic.kicks$.subscribe(({ queue, count }) => console.log(`queue ${queue}: ${count} kicks`));
nic.errors$.subscribe(({ queue, error }) => console.log(`queue ${queue}: ${error.message}`));

const server = await serve(nic, { socketPath: process.argv[2] ?? '/tmp/vm1.sock' });
server.connections$.subscribe(({ pid }) => console.log(`process ${pid} connected`));
await server.closed;
