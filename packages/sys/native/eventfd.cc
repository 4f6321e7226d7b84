// Eventfds. Raising one is on the hot path of every call to a guest.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "addon.h"
#include "hot_call.h"

namespace {

Napi::Value CreateEventFd(const Napi::CallbackInfo& info) {
  return AnswerFd(info.Env(), eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

// (fd) -> 0: a non-blocking eventfd, 1: a blocking one, -EINVAL: something else.
Napi::Value CheckEventFd(const Napi::CallbackInfo& info) {
  const int fd = IntArgument(info, 0);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return Failure(info.Env());
  char link[64];
  char target[64] = {};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  if (readlink(link, target, sizeof target - 1) < 0) return Failure(info.Env());
  if (std::strcmp(target, "anon_inode:[eventfd]") != 0) return Failure(info.Env(), EINVAL);
  return Napi::Number::New(info.Env(), (flags & O_NONBLOCK) == 0 ? 1 : 0);
}

bool Ready(int fd, short events) {
  struct pollfd one = {fd, events, 0};
  return poll(&one, 1, 0) == 1;
}

// (fd): raises the counter by one. A counter that is full stays full, and a closed fd is nobody's
// to be told: there is no answer.
napi_value Signal(napi_env env, napi_callback_info info) {
  HotCall<1> call(env, info);
  const uint64_t one = 1;
  while (write(call.Int(0, -1), &one, sizeof one) < 0 && errno == EINTR) continue;
  return nullptr;
}

// The same where a front-end gave us an eventfd that would block. Its flags are not ours to change.
napi_value SignalBlocking(napi_env env, napi_callback_info info) {
  HotCall<1> call(env, info);
  const uint64_t one = 1;
  const int fd = call.Int(0, -1);
  while (Ready(fd, POLLOUT) && write(fd, &one, sizeof one) < 0 && errno == EINTR) continue;
  return nullptr;
}

ssize_t ReadCounter(int fd, uint64_t* value) {
  struct iovec bytes = {value, sizeof *value};
  ssize_t got;
  do {
    got = preadv2(fd, &bytes, 1, -1, RWF_NOWAIT);
    if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
      if (!Ready(fd, POLLIN)) {
        errno = EAGAIN;
        return -1;
      }
      got = read(fd, value, sizeof *value);
    }
  } while (got < 0 && errno == EINTR);
  return got;
}

// (fd) -> the counter, which becomes 0; 0 when nothing was raised. Never blocks.
napi_value ReadEvent(napi_env env, napi_callback_info info) {
  HotCall<1> call(env, info);
  uint64_t value = 0;
  if (ReadCounter(call.Int(0, -1), &value) < 0) {
    return call.Number(errno == EAGAIN ? 0 : -errno);
  }
  return call.Number(static_cast<int64_t>(value < INT64_MAX ? value : INT64_MAX));
}

}  // namespace

void InitEventFd(Napi::Env env, Napi::Object exports) {
  Export<CreateEventFd>(env, exports, "createEventFd");
  Export<CheckEventFd>(env, exports, "checkEventFd");
  ExportHot(env, exports, "signalEvent", Signal);
  ExportHot(env, exports, "signalBlockingEvent", SignalBlocking);
  ExportHot(env, exports, "readEvent", ReadEvent);
}
