// The TUN/TAP driver's ioctls, on the fd of a tun or macvtap character device.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "addon.h"

namespace {

Napi::Value Request(const Napi::CallbackInfo& info, unsigned long request, void* argument) {
  return Answer(info.Env(), ioctl(IntArgument(info, 0), request, argument));
}

// (device path, interface name or '', flags, out array) -> fd; `out` gets the name that it has.
Napi::Value OpenTun(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  struct ifreq request = {};
  if (name.size() >= sizeof request.ifr_name) return Failure(env, ENAMETOOLONG);
  std::memcpy(request.ifr_name, name.c_str(), name.size());
  request.ifr_flags = static_cast<short>(IntArgument(info, 2));
  const int fd = open(info[0].As<Napi::String>().Utf8Value().c_str(),
                      O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return Failure(env);
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    const int error = errno;
    close(fd);
    return Failure(env, error);
  }
  request.ifr_name[sizeof request.ifr_name - 1] = 0;
  owned_fds::Take(env, fd);
  info[3].As<Napi::Array>()[0u] = Napi::String::New(env, request.ifr_name);
  return Napi::Number::New(env, fd);
}

// (fd, out array) -> flags; `out` gets the interface's name.
Napi::Value GetInterface(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  if (ioctl(IntArgument(info, 0), TUNGETIFF, &request) < 0) return Failure(info.Env());
  request.ifr_name[sizeof request.ifr_name - 1] = 0;
  info[1].As<Napi::Array>()[0u] = Napi::String::New(info.Env(), request.ifr_name);
  return Napi::Number::New(info.Env(), static_cast<unsigned short>(request.ifr_flags));
}

// (fd) -> the value that an ioctl writes.
template <unsigned long request>
Napi::Value Get(const Napi::CallbackInfo& info) {
  unsigned int value = 0;
  if (ioctl(IntArgument(info, 0), request, &value) < 0) return Failure(info.Env());
  return Napi::Number::New(info.Env(), value);
}

// (fd, value): an ioctl that reads an int.
template <unsigned long request>
Napi::Value Set(const Napi::CallbackInfo& info) {
  int value = IntArgument(info, 1);
  return Request(info, request, &value);
}

// (fd, value): an ioctl whose argument is the value itself.
template <unsigned long request>
Napi::Value SetDirect(const Napi::CallbackInfo& info) {
  return Request(info, request, reinterpret_cast<void*>(static_cast<intptr_t>(IntArgument(info, 1))));
}

// (fd, IFF_ATTACH_QUEUE or IFF_DETACH_QUEUE).
Napi::Value SetQueue(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  request.ifr_flags = static_cast<short>(IntArgument(info, 1));
  return Request(info, TUNSETQUEUE, &request);
}

}  // namespace

void InitTun(Napi::Env env, Napi::Object exports) {
  Export<OpenTun>(env, exports, "openTun");
  Export<GetInterface>(env, exports, "tunInterface");
  Export<Get<TUNGETFEATURES>>(env, exports, "tunFeatures");
  Export<Get<TUNGETVNETHDRSZ>>(env, exports, "tunVnetHeaderSize");
  Export<Set<TUNSETVNETHDRSZ>>(env, exports, "setTunVnetHeaderSize");
  Export<Set<TUNSETVNETLE>>(env, exports, "setTunVnetLittleEndian");
  Export<Set<TUNSETSNDBUF>>(env, exports, "setTunSendBuffer");
  Export<SetDirect<TUNSETOFFLOAD>>(env, exports, "setTunOffload");
  Export<SetDirect<TUNSETPERSIST>>(env, exports, "setTunPersistent");
  Export<SetQueue>(env, exports, "setTunQueue");
}
