export * from './buffer-sizes.js';
export * from './datagrams.js';
export * from './vsock.js';
export * from './vsock-agent.js';
export * from './vsock-message-socket.js';
export * from './vsock-server.js';
export * from './vsock-socket.js';
