/* One connection that carries a pattern in each direction and is closed half by half. */
#include "tool.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct sending {
  int fd;
  uint64_t bytes;
  uint32_t seed;
};

/* Sends the pattern, then says that nothing more will come. */
static void *send_pattern(void *argument) {
  const struct sending *sending = argument;
  struct pattern *pattern = pattern_begin(sending->seed);
  for (uint64_t left = sending->bytes; left > 0;) {
    size_t length;
    const uint8_t *bytes = pattern_next(pattern, left < CHUNK ? left : CHUNK, &length);
    write_all(sending->fd, bytes, length);
    left -= length;
  }
  free(pattern);
  if (shutdown(sending->fd, SHUT_WR) != 0) fail("shutdown");
  return NULL;
}

static void receive_to_end(int fd) {
  static uint8_t buffer[CHUNK];
  struct sha256 hash;
  char hex[65];
  sha256_begin(&hash);
  for (;;) {
    ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length < 0) fail("recv");
    if (length == 0) break;
    sha256_add(&hash, buffer, (size_t)length);
  }
  uint64_t bytes = hash.length;
  sha256_end(&hash, hex);
  printf("received %" PRIu64 " %s\n", bytes, hex);
}

/* `after_end`: sends only when the other side has said that nothing more comes from there. */
int exchange_on(int fd, uint64_t bytes, uint32_t seed, int after_end) {
  struct sending sending = {fd, bytes, seed};
  if (after_end) {
    receive_to_end(fd);
    send_pattern(&sending);
  } else {
    pthread_t sender;
    if (pthread_create(&sender, NULL, send_pattern, &sending) != 0) fail("pthread_create");
    receive_to_end(fd);
    pthread_join(sender, NULL);
  }
  close(fd);
  return 0;
}
