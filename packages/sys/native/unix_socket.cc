// Messages over Unix sockets, with fds beside them.
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "unix_address.h"

namespace {

// The kernel's own limit for one message (SCM_MAX_FD).
constexpr int kMaxFds = 253;

struct Bytes {
  uint8_t* data;
  size_t length;
};

Bytes BytesArgument(const Napi::CallbackInfo& info, size_t index) {
  Napi::Uint8Array array = info[index].As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

// Takes every fd that came into `fds`, up to kMaxFds, and tells how many.
int CollectFds(struct msghdr* message, int* fds) {
  int count = 0;
  for (struct cmsghdr* control = CMSG_FIRSTHDR(message); control != nullptr;
       control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t bytes = control->cmsg_len - CMSG_LEN(0);
    const int arrived = static_cast<int>(bytes / sizeof(int));
    for (int i = 0; i < arrived && count < kMaxFds; i += 1, count += 1) {
      std::memcpy(&fds[count], CMSG_DATA(control) + i * sizeof(int), sizeof(int));
    }
  }
  return count;
}

// (fd, target, maxFds, fdsOut array) -> bytes, or a negative errno; -EMSGSIZE: more fds came than
// that, and every one is closed again. One recvmsg, which never blocks.
Napi::Value ReceiveWithFds(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Bytes target = BytesArgument(info, 1);
  const int maxFds = IntArgument(info, 2);
  Napi::Array out = info[3].As<Napi::Array>();
  if (maxFds < 0 || maxFds > kMaxFds) return Failure(env, EINVAL);

  alignas(struct cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  struct iovec piece = {target.data, target.length};
  struct msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = maxFds > 0 ? control : nullptr;
  message.msg_controllen = maxFds > 0 ? CMSG_SPACE(maxFds * sizeof(int)) : 0;
  ssize_t got;
  do {
    got = recvmsg(IntArgument(info, 0), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Failure(env);

  // Room for control data is rounded up, so one fd more than asked for may fit.
  int fds[kMaxFds];
  const int count = CollectFds(&message, fds);
  if ((message.msg_flags & MSG_CTRUNC) != 0 || count > maxFds) {
    for (int i = 0; i < count; i += 1) close(fds[i]);
    return Failure(env, EMSGSIZE);
  }
  for (int i = 0; i < count; i += 1) owned_fds::Take(env, fds[i]);
  for (int i = 0; i < count; i += 1) out[i] = Napi::Number::New(env, fds[i]);
  return Napi::Number::New(env, static_cast<double>(got));
}

// (fd, target) -> bytes.
Napi::Value ReceiveBytes(const Napi::CallbackInfo& info) {
  const Bytes target = BytesArgument(info, 1);
  ssize_t got;
  do {
    got = recv(IntArgument(info, 0), target.data, target.length, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return Answer(info.Env(), got);
}

// (fd, bytes, fds array) -> bytes sent.
Napi::Value SendWithFds(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Bytes source = BytesArgument(info, 1);
  Napi::Array fds = info[2].As<Napi::Array>();
  const uint32_t count = fds.Length();
  if (count > kMaxFds) return Failure(env, EINVAL);

  alignas(struct cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  struct iovec piece = {source.data, source.length};
  struct msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; i += 1) {
      const int fd = Napi::Value(fds[i]).As<Napi::Number>().Int32Value();
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof fd);
    }
  }
  ssize_t sent;
  do {
    sent = sendmsg(IntArgument(info, 0), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return Answer(env, sent);
}

// (path) -> connected fd. Does not wait for room in the server's backlog: -EAGAIN.
Napi::Value ConnectUnix(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  UnixAddress server;
  if (!server.Set(info[0].As<Napi::String>().Utf8Value())) return Failure(env);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Failure(env);
  if (connect(fd, server.generic(), server.length) < 0) {
    const int error = errno;
    close(fd);
    return Failure(env, error);
  }
  return AnswerFd(env, fd);
}

int SocketOption(int fd, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -1 : value;
}

// (fd) -> pid of whoever connected; -ENOTSOCK, -EAFNOSUPPORT, -ESOCKTNOSUPPORT or -ENOTCONN for what
// is not a connected Unix stream socket.
Napi::Value UnixPeer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = IntArgument(info, 0);
  const int domain = SocketOption(fd, SO_DOMAIN);
  if (domain < 0) return Failure(env);
  if (domain != AF_UNIX) return Failure(env, EAFNOSUPPORT);
  if (SocketOption(fd, SO_TYPE) != SOCK_STREAM) return Failure(env, ESOCKTNOSUPPORT);
  struct sockaddr_un peer;
  socklen_t length = sizeof peer;
  if (getpeername(fd, reinterpret_cast<struct sockaddr*>(&peer), &length) < 0) return Failure(env);
  struct ucred credentials = {};
  length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return Failure(env);
  return Napi::Number::New(env, credentials.pid);
}

// (type: 'stream' | 'datagram' | 'seqpacket', out array) -> 0; both non-blocking.
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const int type = name == "datagram" ? SOCK_DGRAM : name == "seqpacket" ? SOCK_SEQPACKET : SOCK_STREAM;
  int fds[2];
  if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) return Failure(env);
  Napi::Array out = info[1].As<Napi::Array>();
  out[0u] = Napi::Number::New(env, owned_fds::Take(env, fds[0]));
  out[1u] = Napi::Number::New(env, owned_fds::Take(env, fds[1]));
  return Napi::Number::New(env, 0);
}

}  // namespace

void InitUnixSocket(Napi::Env env, Napi::Object exports) {
  Export<ReceiveWithFds>(env, exports, "receiveWithFds");
  Export<ReceiveBytes>(env, exports, "receiveBytes");
  Export<SendWithFds>(env, exports, "sendWithFds");
  Export<ConnectUnix>(env, exports, "connectUnix");
  Export<UnixPeer>(env, exports, "unixPeer");
  Export<SocketPair>(env, exports, "socketPair");
}
