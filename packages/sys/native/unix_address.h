// A path as a Unix socket address.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

struct UnixAddress {
  struct sockaddr_un address = {};
  socklen_t length = 0;

  const struct sockaddr* generic() const {
    return reinterpret_cast<const struct sockaddr*>(&address);
  }

  // False and errno: ENAMETOOLONG over 107 bytes, EINVAL when empty or with a zero byte in it.
  bool Set(const std::string& path) {
    if (path.empty() || path.find('\0') != std::string::npos) {
      errno = EINVAL;
      return false;
    }
    if (path.size() >= sizeof address.sun_path) {
      errno = ENAMETOOLONG;
      return false;
    }
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    length = static_cast<socklen_t>(sizeof address.sun_family + path.size() + 1);
    return true;
  }
};
