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

static int open_socket(int type) {
  int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

static int connect_socket(int type, unsigned cid, unsigned port) {
  struct sockaddr_vm address = address_of(cid, port);
  int fd = open_socket(type);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static int listen_socket(int type, unsigned port) {
  struct sockaddr_vm address = address_of(VMADDR_CID_ANY, port);
  int fd = open_socket(type);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(fd, BACKLOG) != 0) fail("listen");
  return fd;
}

int vsock_connect(unsigned cid, unsigned port) { return connect_socket(SOCK_STREAM, cid, port); }
int vsock_connect_messages(unsigned cid, unsigned port) {
  return connect_socket(SOCK_SEQPACKET, cid, port);
}
int vsock_listen(unsigned port) { return listen_socket(SOCK_STREAM, port); }
int vsock_listen_messages(unsigned port) { return listen_socket(SOCK_SEQPACKET, port); }

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
