/* SOCK_SEQPACKET: messages of many lengths, some of which end a record, sent back one by one. */
#include "tool.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LONGEST = 100000 };

static uint8_t sent[LONGEST], received[LONGEST + 1];

/* What message `number` is like: between 1 and LONGEST bytes, every third the end of a record. */
static size_t length_of(unsigned number) {
  return 1 + (size_t)((uint64_t)number * number * 7919 % LONGEST);
}
static int flags_of(unsigned number) { return number % 3 == 0 ? MSG_EOR : 0; }

/* Returns the length of the next message, 0 at the end, and in `flags` whether it ends a record. */
static size_t next_message(int fd, int *flags) {
  struct iovec space = {received, sizeof received};
  struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
  ssize_t length = recvmsg(fd, &message, 0);
  if (length < 0) fail("recvmsg");
  *flags = message.msg_flags & (MSG_EOR | MSG_TRUNC);
  return (size_t)length;
}

static void send_message(int fd, const void *bytes, size_t length, int flags) {
  ssize_t written = send(fd, bytes, length, MSG_NOSIGNAL | flags);
  if (written < 0) fail("send");
  if ((size_t)written != length) {
    errno = EMSGSIZE;
    fail("send");
  }
}

/* Sends messages to a service that sends them back, and counts those that come as they went. */
int ask_messages(unsigned cid, unsigned port, unsigned count) {
  int fd = vsock_connect_messages(cid, port);
  unsigned alike = 0;
  if (fd < 0) fail("connect");
  for (unsigned number = 0; number < count; number += 1) {
    size_t length = length_of(number);
    int flags;
    for (size_t at = 0; at < length; at += 1) sent[at] = (uint8_t)(number + at * 7);
    send_message(fd, sent, length, flags_of(number));
    if (next_message(fd, &flags) == length && flags == flags_of(number) &&
        memcmp(sent, received, length) == 0)
      alike += 1;
  }
  close(fd);
  printf("alike %u of %u\n", alike, count);
  return 0;
}

/* Sends back the messages of one connection. */
int echo_messages(unsigned port) {
  int fd = vsock_accept(vsock_listen_messages(port)), flags;
  unsigned count = 0;
  size_t length;
  while ((length = next_message(fd, &flags)) > 0) {
    send_message(fd, received, length, flags);
    count += 1;
  }
  close(fd);
  printf("echoed %u\n", count);
  return 0;
}
