// Network interfaces by name: what a tap needs of `ip link`, by ioctl on any socket.
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "addon.h"

namespace {

// Runs one request on the interface named by argument 0. 0 or an errno.
int Ask(const Napi::CallbackInfo& info, unsigned long code, struct ifreq* request) {
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  if (name.empty() || name.size() >= sizeof request->ifr_name) return ENODEV;
  std::memcpy(request->ifr_name, name.c_str(), name.size() + 1);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  // A kernel without IPv4 answers the same requests on a Unix socket.
  if (fd < 0) fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int error = ioctl(fd, code, request) < 0 ? errno : 0;
  close(fd);
  return error;
}

// (name) -> index.
Napi::Value Index(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  const int error = Ask(info, SIOCGIFINDEX, &request);
  if (error != 0) return Failure(info.Env(), error);
  return Napi::Number::New(info.Env(), request.ifr_ifindex);
}

// (index, out array) -> 0; `out` gets the name.
Napi::Value Name(const Napi::CallbackInfo& info) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(IntArgument(info, 0)), name) == nullptr) {
    return Failure(info.Env(), errno == ENXIO ? ENODEV : errno);
  }
  info[1].As<Napi::Array>()[0u] = Napi::String::New(info.Env(), name);
  return Napi::Number::New(info.Env(), 0);
}

// (name) -> IFF_ flags.
Napi::Value Flags(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  const int error = Ask(info, SIOCGIFFLAGS, &request);
  if (error != 0) return Failure(info.Env(), error);
  return Napi::Number::New(info.Env(), static_cast<unsigned short>(request.ifr_flags));
}

// (name, up).
Napi::Value SetUp(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  int error = Ask(info, SIOCGIFFLAGS, &request);
  if (error == 0) {
    const bool up = info[1].As<Napi::Boolean>().Value();
    if (up) {
      request.ifr_flags |= IFF_UP;
    } else {
      request.ifr_flags &= ~IFF_UP;
    }
    error = Ask(info, SIOCSIFFLAGS, &request);
  }
  return Failure(info.Env(), error);
}

// (name) -> bytes.
Napi::Value Mtu(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  const int error = Ask(info, SIOCGIFMTU, &request);
  if (error != 0) return Failure(info.Env(), error);
  return Napi::Number::New(info.Env(), request.ifr_mtu);
}

// (name, bytes).
Napi::Value SetMtu(const Napi::CallbackInfo& info) {
  struct ifreq request = {};
  request.ifr_mtu = IntArgument(info, 1);
  return Failure(info.Env(), Ask(info, SIOCSIFMTU, &request));
}

// (name, Uint8Array(6)) -> ARPHRD_ type.
Napi::Value HardwareAddress(const Napi::CallbackInfo& info) {
  Napi::Uint8Array out = info[1].As<Napi::Uint8Array>();
  struct ifreq request = {};
  const int error = out.ElementLength() < 6 ? EINVAL : Ask(info, SIOCGIFHWADDR, &request);
  if (error != 0) return Failure(info.Env(), error);
  std::memcpy(out.Data(), request.ifr_hwaddr.sa_data, 6);
  return Napi::Number::New(info.Env(), request.ifr_hwaddr.sa_family);
}

// (name, Uint8Array(6)).
Napi::Value SetHardwareAddress(const Napi::CallbackInfo& info) {
  Napi::Uint8Array address = info[1].As<Napi::Uint8Array>();
  if (address.ElementLength() < 6) return Failure(info.Env(), EINVAL);
  struct ifreq request = {};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, address.Data(), 6);
  return Failure(info.Env(), Ask(info, SIOCSIFHWADDR, &request));
}

}  // namespace

void InitInterface(Napi::Env env, Napi::Object exports) {
  Export<Index>(env, exports, "interfaceIndex");
  Export<Name>(env, exports, "interfaceName");
  Export<Flags>(env, exports, "interfaceFlags");
  Export<SetUp>(env, exports, "setInterfaceUp");
  Export<Mtu>(env, exports, "interfaceMtu");
  Export<SetMtu>(env, exports, "setInterfaceMtu");
  Export<HardwareAddress>(env, exports, "interfaceHardwareAddress");
  Export<SetHardwareAddress>(env, exports, "setInterfaceHardwareAddress");
}
