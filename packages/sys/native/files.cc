// Anonymous shared files, and what Node cannot do with an fd that it did not open.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <string>

#include "addon.h"

// (name, size) -> fd. The size is sealed: nobody can shrink the file under a mapping (T20).
static Napi::Value CreateMemfd(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const int64_t size = info[1].As<Napi::Number>().Int64Value();
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Failure(info.Env());
  if (ftruncate(fd, size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
    const int error = errno;
    close(fd);
    return Failure(info.Env(), error);
  }
  return AnswerFd(info.Env(), fd);
}

// (fd, Float64Array(5)) -> 0; fills in mode, size, major, minor, file system block size.
static Napi::Value FileStatus(const Napi::CallbackInfo& info) {
  struct stat status;
  if (fstat(IntArgument(info, 0), &status) < 0) return Failure(info.Env());
  Napi::Float64Array fields = info[1].As<Napi::Float64Array>();
  if (fields.ElementLength() < 5) return Failure(info.Env(), EINVAL);
  fields[0] = status.st_mode;
  fields[1] = static_cast<double>(status.st_size);
  fields[2] = major(status.st_rdev);
  fields[3] = minor(status.st_rdev);
  fields[4] = static_cast<double>(status.st_blksize);
  return Napi::Number::New(info.Env(), 0);
}

static Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  return AnswerFd(info.Env(), fcntl(IntArgument(info, 0), F_DUPFD_CLOEXEC, 0));
}

// (path) -> fd, for reading and writing.
static Napi::Value OpenDevice(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  return AnswerFd(info.Env(), open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
}

// (): this thread's fds are closed when it ends.
static Napi::Value CloseFdsAtEnd(const Napi::CallbackInfo& info) {
  owned_fds::Register(info.Env());
  return Napi::Number::New(info.Env(), 0);
}

// (fd): it is the calling thread's, whoever made it.
static Napi::Value OwnFd(const Napi::CallbackInfo& info) {
  const int fd = IntArgument(info, 0);
  if (fcntl(fd, F_GETFD) < 0) return Failure(info.Env());
  return AnswerFd(info.Env(), fd);
}

// (fd): it is no thread's.
static Napi::Value DisownFd(const Napi::CallbackInfo& info) {
  owned_fds::Forget(IntArgument(info, 0));
  return Napi::Number::New(info.Env(), 0);
}

// No retry after EINTR: Linux has released the fd by then, and somebody may have it already.
static Napi::Value Close(const Napi::CallbackInfo& info) {
  owned_fds::Forget(IntArgument(info, 0));
  if (close(IntArgument(info, 0)) < 0 && errno != EINTR) return Failure(info.Env());
  return Napi::Number::New(info.Env(), 0);
}

static Napi::Value SetNonBlocking(const Napi::CallbackInfo& info) {
  const int fd = IntArgument(info, 0);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return Failure(info.Env());
  return Answer(info.Env(), fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

// (path, major, minor): a character device that only we may open.
static Napi::Value MakeDevice(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const dev_t device = makedev(IntArgument(info, 1), IntArgument(info, 2));
  return Answer(info.Env(), mknod(path.c_str(), S_IFCHR | S_IRUSR | S_IWUSR, device));
}

void InitFiles(Napi::Env env, Napi::Object exports) {
  Export<CreateMemfd>(env, exports, "createMemfd");
  Export<FileStatus>(env, exports, "fileStatus");
  Export<Duplicate>(env, exports, "duplicate");
  Export<OpenDevice>(env, exports, "openDevice");
  Export<CloseFdsAtEnd>(env, exports, "closeFdsAtEnd");
  Export<OwnFd>(env, exports, "ownFd");
  Export<DisownFd>(env, exports, "disownFd");
  Export<Close>(env, exports, "close");
  Export<SetNonBlocking>(env, exports, "setNonBlocking");
  Export<MakeDevice>(env, exports, "makeDevice");
}
