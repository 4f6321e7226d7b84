/* Bytes in one direction for so many seconds, counted: for benchmarks. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FLOW = 1 << 17 };

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Sends or receives, and prints bytes and seconds. */
int flow(unsigned cid, unsigned port, unsigned seconds, int sending) {
  static char buffer[FLOW];
  int fd = vsock_connect(cid, port);
  if (fd < 0) fail("connect");
  uint64_t bytes = 0;
  double start = seconds_now(), now = start;
  while (now < start + seconds) {
    ssize_t length = sending ? send(fd, buffer, FLOW, MSG_NOSIGNAL) : recv(fd, buffer, FLOW, 0);
    if (length <= 0) fail(sending ? "send" : "recv");
    bytes += (uint64_t)length;
    now = seconds_now();
  }
  close(fd);
  printf("%" PRIu64 " bytes in %.3f s\n", bytes, now - start);
  return 0;
}
