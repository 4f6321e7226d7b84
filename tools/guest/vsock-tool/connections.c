/* Many connections at once, and single ones that are refused, held or echoed. */
#include "tool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 32 };

static void *echo_one(void *argument) {
  int fd = (int)(intptr_t)argument;
  char buffer[4096];
  ssize_t length;
  while ((length = recv(fd, buffer, sizeof buffer, 0)) > 0) {
    for (ssize_t done = 0; done < length;) {
      ssize_t written = send(fd, buffer + done, (size_t)(length - done), MSG_NOSIGNAL);
      if (written < 0) goto end;
      done += written;
    }
  }
end:
  close(fd);
  return NULL;
}

/* Sends back on every connection what comes there, for ever. */
int echo_connections(unsigned port) {
  int listener = vsock_listen(port);
  for (;;) {
    pthread_t thread;
    void *fd = (void *)(intptr_t)vsock_accept(listener);
    if (pthread_create(&thread, NULL, echo_one, fd) != 0) fail("pthread_create");
    pthread_detach(thread);
  }
}

/* Opens all connections, then asks something on each and counts the right answers. */
int many_connections(unsigned cid, unsigned port, unsigned count) {
  int *fds = calloc(count, sizeof *fds);
  unsigned answered = 0;
  for (unsigned i = 0; i < count; i += 1) {
    fds[i] = vsock_connect(cid, port);
    if (fds[i] < 0) fail("connect");
  }
  for (unsigned i = 0; i < count; i += 1) {
    char line[LINE] = {0};
    snprintf(line, sizeof line, "connection %u", i);
    write_all(fds[i], line, sizeof line);
  }
  for (unsigned i = 0; i < count; i += 1) {
    char expected[LINE] = {0}, line[LINE];
    snprintf(expected, sizeof expected, "connection %u", i);
    if (recv(fds[i], line, sizeof line, MSG_WAITALL) == LINE && memcmp(line, expected, LINE) == 0)
      answered += 1;
  }
  for (unsigned i = 0; i < count; i += 1) close(fds[i]);
  printf("answered %u of %u\n", answered, count);
  return 0;
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int refused_connection(unsigned cid, unsigned port) {
  double start = milliseconds();
  int fd = vsock_connect(cid, port);
  int error = errno;
  printf("%s after %.0f ms\n", fd < 0 ? strerrorname_np(error) : "connected",
         milliseconds() - start);
  return 0;
}

/* Connects and then neither reads nor writes, until it is killed or the other side resets it. */
int hold_connection(unsigned cid, unsigned port) {
  int fd = vsock_connect(cid, port);
  if (fd < 0) fail("connect");
  printf("connected\n");
  fflush(stdout);
  for (;;) pause();
}
