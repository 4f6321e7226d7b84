/* The command line of vsock-tool. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const USAGE =
    "vsock-tool exchange CID PORT BYTES SEED [after-end]   a pattern each way on one connection\n"
    "vsock-tool serve PORT BYTES SEED [after-end]          the same, on the first connection to PORT\n"
    "vsock-tool echo PORT                                  sends everything back, for ever\n"
    "vsock-tool many CID PORT COUNT                        a question on each of many connections\n"
    "vsock-tool refused CID PORT                           how connecting fails, and when\n"
    "vsock-tool hold CID PORT                              connects and does nothing\n"
    "vsock-tool flood CID PORT SECONDS                     sends, and says how much\n"
    "vsock-tool drain CID PORT SECONDS                     receives, and says how much\n"
    "vsock-tool messages CID PORT COUNT                    messages, each of which has to come back\n"
    "vsock-tool echo-messages PORT                         sends the messages of one connection back\n"
    "vsock-tool http CID PORT REQUESTS AT-ONCE             HTTP requests on AT-ONCE connections\n";

static unsigned number(const char *text) { return (unsigned)strtoul(text, NULL, 10); }

int main(int count, char **arguments) {
  const char *command = count > 1 ? arguments[1] : "";
  char **given = arguments + 2;
  count -= 2;
  if (strcmp(command, "exchange") == 0 && count >= 4) {
    int fd = vsock_connect(number(given[0]), number(given[1]));
    if (fd < 0) fail("connect");
    return exchange_on(fd, strtoull(given[2], NULL, 10), number(given[3]), count > 4);
  }
  if (strcmp(command, "serve") == 0 && count >= 3) {
    int fd = vsock_accept(vsock_listen(number(given[0])));
    return exchange_on(fd, strtoull(given[1], NULL, 10), number(given[2]), count > 3);
  }
  if (strcmp(command, "echo") == 0 && count == 1) return echo_connections(number(given[0]));
  if (strcmp(command, "many") == 0 && count == 3)
    return many_connections(number(given[0]), number(given[1]), number(given[2]));
  if (strcmp(command, "refused") == 0 && count == 2)
    return refused_connection(number(given[0]), number(given[1]));
  if (strcmp(command, "hold") == 0 && count == 2)
    return hold_connection(number(given[0]), number(given[1]));
  if (strcmp(command, "flood") == 0 && count == 3)
    return flow(number(given[0]), number(given[1]), number(given[2]), 1);
  if (strcmp(command, "drain") == 0 && count == 3)
    return flow(number(given[0]), number(given[1]), number(given[2]), 0);
  if (strcmp(command, "messages") == 0 && count == 3)
    return ask_messages(number(given[0]), number(given[1]), number(given[2]));
  if (strcmp(command, "echo-messages") == 0 && count == 1) return echo_messages(number(given[0]));
  if (strcmp(command, "http") == 0 && count == 4)
    return http_requests(number(given[0]), number(given[1]), number(given[2]), number(given[3]));
  fputs(USAGE, stderr);
  return 2;
}
