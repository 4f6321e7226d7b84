/* An HTTP/1.1 client that keeps its connections, as far as the tests need one. */
#include "tool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RESPONSE = 4096 };

static struct {
  unsigned cid, port, requests;
  atomic_uint next, answered;
} work;

/* Reads one response. Returns whether its status is 200 and its body `expected`. */
static int is_answered(int fd, const char *expected) {
  char response[RESPONSE + 1];
  size_t length = 0;
  for (;;) {
    ssize_t more = recv(fd, response + length, RESPONSE - length, 0);
    if (more <= 0) return 0;
    length += (size_t)more;
    response[length] = 0;
    const char *end = strstr(response, "\r\n\r\n");
    const char *size = strcasestr(response, "\r\ncontent-length:");
    if (end == NULL) continue;
    if (size == NULL || size > end) return 0;
    size_t body = (size_t)strtoul(size + 17, NULL, 10);
    size_t head = (size_t)(end + 4 - response);
    if (length < head + body) continue;
    return strncmp(response, "HTTP/1.1 200 ", 13) == 0 && body == strlen(expected) &&
           length == head + body && memcmp(response + head, expected, body) == 0;
  }
}

static void *request_in_turn(void *unused) {
  (void)unused;
  int fd = vsock_connect(work.cid, work.port);
  if (fd < 0) fail("connect");
  for (;;) {
    unsigned number = atomic_fetch_add(&work.next, 1);
    if (number >= work.requests) break;
    char request[128], expected[32];
    int length = snprintf(request, sizeof request, "GET /%u HTTP/1.1\r\nHost: host\r\n\r\n", number);
    snprintf(expected, sizeof expected, "answer %u", number);
    write_all(fd, request, (size_t)length);
    if (!is_answered(fd, expected)) break;
    atomic_fetch_add(&work.answered, 1);
  }
  close(fd);
  return NULL;
}

int http_requests(unsigned cid, unsigned port, unsigned requests, unsigned at_once) {
  pthread_t *threads = calloc(at_once, sizeof *threads);
  work.cid = cid, work.port = port, work.requests = requests;
  for (unsigned i = 0; i < at_once; i += 1) {
    if (pthread_create(&threads[i], NULL, request_in_turn, NULL) != 0) fail("pthread_create");
  }
  for (unsigned i = 0; i < at_once; i += 1) pthread_join(threads[i], NULL);
  printf("answered %u of %u\n", atomic_load(&work.answered), requests);
  return 0;
}
