/* AF_VSOCK sockets. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { BACKLOG = 512 };

static struct sockaddr_vm address_of(unsigned cid, unsigned port) {
  struct sockaddr_vm address;
  memset(&address, 0, sizeof address);
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

static int vsock_open(void) {
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

/* Returns -1 with errno set when nobody takes the connection. */
int vsock_connect(unsigned cid, unsigned port) {
  struct sockaddr_vm address = address_of(cid, port);
  int fd = vsock_open();
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int vsock_listen(unsigned port) {
  struct sockaddr_vm address = address_of(VMADDR_CID_ANY, port);
  int fd = vsock_open();
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(fd, BACKLOG) != 0) fail("listen");
  return fd;
}

int vsock_accept(int listener) {
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) fail("accept");
  return fd;
}

void write_all(int fd, const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t written = send(fd, at, length, MSG_NOSIGNAL);
    if (written < 0) fail("send");
    at += written;
    length -= (size_t)written;
  }
}

void fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  fflush(stdout);
  _exit(1);
}
