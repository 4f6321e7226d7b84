/*
 * vsock-tool: what the tests run inside the guest to use AF_VSOCK sockets as the guest's kernel
 * offers them. Every command prints one line of what it saw; a failure prints why and exits with 1.
 */
#ifndef VSOCK_TOOL_H
#define VSOCK_TOOL_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that travel in one call, and in one block of the pattern. */
enum { CHUNK = 65536, PATTERN_BLOCK = 1 << 20 };

/* socket.c */
/* They return -1 with errno set when nobody takes the connection. */
int vsock_connect(unsigned cid, unsigned port);
int vsock_connect_messages(unsigned cid, unsigned port);
int vsock_listen(unsigned port);
int vsock_listen_messages(unsigned port);
int vsock_accept(int listener);
void write_all(int fd, const void *bytes, size_t length);
void fail(const char *what);

/* pattern.c: the bytes that test/support/pattern.ts makes of the same seed */
struct pattern {
  uint32_t block;
  size_t at;
  uint8_t bytes[PATTERN_BLOCK];
};
struct pattern *pattern_begin(uint32_t seed);
const uint8_t *pattern_next(struct pattern *pattern, size_t limit, size_t *length);

/* sha256.c */
struct sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t pending[64];
};
void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const uint8_t *bytes, size_t length);
void sha256_end(struct sha256 *hash, char hex[65]);

/* commands */
int exchange_on(int fd, uint64_t bytes, uint32_t seed, int after_end);
int echo_connections(unsigned port);
int many_connections(unsigned cid, unsigned port, unsigned count);
int refused_connection(unsigned cid, unsigned port);
int hold_connection(unsigned cid, unsigned port);
int flow(unsigned cid, unsigned port, unsigned seconds, int sending);
int ask_messages(unsigned cid, unsigned port, unsigned count);
int echo_messages(unsigned port);
int http_requests(unsigned cid, unsigned port, unsigned requests, unsigned at_once);

#endif
