// A listening Unix socket at a path, and what to do about a file that is there already (T17).
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addon.h"
#include "unix_address.h"

namespace {

constexpr int kAttempts = 4;

// Between bind and listen a socket answers ECONNREFUSED, as a stale one does. Servers of this
// library that start in one directory at the same time take turns through a lock on it, so that
// none mistakes another for stale. Best effort: without the lock things go on.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string directory =
        slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    fd_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd_ >= 0 && i < 20 && flock(fd_, LOCK_EX | LOCK_NB) < 0; i += 1) usleep(1000);
  }
  ~DirectoryLock() {
    if (fd_ >= 0) close(fd_);
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_;
};

// 0: whoever made the socket file is gone. Otherwise an errno; EADDRINUSE: somebody answers.
int ProbeStale(const UnixAddress& server) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = connect(fd, server.generic(), server.length) == 0 ? 0 : errno;
  close(fd);
  if (error == ECONNREFUSED) return 0;
  // Connected, a full backlog, or a socket of another type that somebody has bound.
  if (error == 0 || error == EAGAIN || error == EPROTOTYPE) return EADDRINUSE;
  return error;
}

// Removes what is at the path if it is a socket file that nobody listens on. 0 or an errno.
int RemoveStale(const std::string& path, const UnixAddress& server) {
  struct stat before;
  if (lstat(path.c_str(), &before) < 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISSOCK(before.st_mode)) return EEXIST;
  const int error = ProbeStale(server);
  if (error == ENOENT) return 0;
  if (error != 0) return error;
  struct stat now;
  if (lstat(path.c_str(), &now) < 0) return errno == ENOENT ? 0 : errno;
  // Somebody has put another socket there since: look again.
  if (now.st_ino != before.st_ino || now.st_dev != before.st_dev) return 0;
  return unlink(path.c_str()) < 0 && errno != ENOENT ? errno : 0;
}

int BindAndListen(const std::string& path, const UnixAddress& server, int backlog) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int error = 0;
  for (int attempt = 0; attempt < kAttempts; attempt += 1) {
    error = bind(fd, server.generic(), server.length) == 0 ? 0 : errno;
    if (error != EADDRINUSE) break;
    const int obstacle = RemoveStale(path, server);
    if (obstacle != 0) {
      error = obstacle;
      break;
    }
  }
  if (error == 0 && listen(fd, backlog) == 0) return fd;
  if (error == 0) {
    error = errno;
    unlink(path.c_str());
  }
  close(fd);
  return -error;
}

// (path, clients that may wait) -> listening fd. -EADDRINUSE: a live server; -EEXIST: not a socket file.
Napi::Value ListenUnix(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  UnixAddress server;
  if (!server.Set(path)) return Failure(info.Env());
  DirectoryLock lock(path);
  const int fd = BindAndListen(path, server, IntArgument(info, 1));
  return Napi::Number::New(info.Env(), owned_fds::Take(info.Env(), fd));
}

// (listening fd) -> connected fd.
Napi::Value AcceptUnix(const Napi::CallbackInfo& info) {
  int fd;
  do {
    fd = accept4(IntArgument(info, 0), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  return AnswerFd(info.Env(), fd);
}

}  // namespace

void InitUnixListener(Napi::Env env, Napi::Object exports) {
  Export<ListenUnix>(env, exports, "listenUnix");
  Export<AcceptUnix>(env, exports, "acceptUnix");
}
