// Packet sockets: raw Ethernet frames on an interface (AF_PACKET). What is set up once; the frames
// themselves go through send_frames.cc and receive_packets.cc.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "addon.h"
#include "hot_call.h"

namespace {

// () -> fd. Hears nothing before it is bound.
Napi::Value Open(const Napi::CallbackInfo& info) {
  return AnswerFd(info.Env(), socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// (fd, interface index, whether to hear its frames).
Napi::Value Bind(const Napi::CallbackInfo& info) {
  struct sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = IntArgument(info, 2) != 0 ? htons(ETH_P_ALL) : 0;
  address.sll_ifindex = IntArgument(info, 1);
  return Answer(info.Env(), bind(IntArgument(info, 0), reinterpret_cast<struct sockaddr*>(&address),
                                 sizeof address));
}

// (fd) -> interface index; 0: bound to none, or to one that is gone.
Napi::Value Interface(const Napi::CallbackInfo& info) {
  struct sockaddr_ll address = {};
  socklen_t size = sizeof address;
  if (getsockname(IntArgument(info, 0), reinterpret_cast<struct sockaddr*>(&address), &size) < 0) {
    return Failure(info.Env());
  }
  if (address.sll_family != AF_PACKET) return Failure(info.Env(), EPFNOSUPPORT);
  return Napi::Number::New(info.Env(), address.sll_ifindex < 0 ? 0 : address.sll_ifindex);
}

// (fd, level, name) -> an option that is an int.
Napi::Value Option(const Napi::CallbackInfo& info) {
  int value = 0;
  socklen_t size = sizeof value;
  if (getsockopt(IntArgument(info, 0), IntArgument(info, 1), IntArgument(info, 2), &value, &size) <
      0) {
    return Failure(info.Env());
  }
  return Napi::Number::New(info.Env(), value);
}

// (fd, level, name, value).
Napi::Value SetOption(const Napi::CallbackInfo& info) {
  const int value = IntArgument(info, 3);
  return Answer(info.Env(), setsockopt(IntArgument(info, 0), IntArgument(info, 1),
                                       IntArgument(info, 2), &value, sizeof value));
}

// (fd, interface index, PACKET_MR_ type, Uint8Array of up to 8 bytes).
Napi::Value AddMembership(const Napi::CallbackInfo& info) {
  Napi::Uint8Array address = info[3].As<Napi::Uint8Array>();
  struct packet_mreq request = {};
  if (address.ElementLength() > sizeof request.mr_address) return Failure(info.Env(), EINVAL);
  request.mr_ifindex = IntArgument(info, 1);
  request.mr_type = static_cast<unsigned short>(IntArgument(info, 2));
  request.mr_alen = static_cast<unsigned short>(address.ElementLength());
  std::memcpy(request.mr_address, address.Data(), address.ElementLength());
  return Answer(info.Env(), setsockopt(IntArgument(info, 0), SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                                       &request, sizeof request));
}

// (fd, Uint8Array of struct sock_filter).
Napi::Value AttachFilter(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  if (bytes.ElementLength() % sizeof(struct sock_filter) != 0) return Failure(info.Env(), EINVAL);
  struct sock_fprog program = {};
  program.len = static_cast<unsigned short>(bytes.ElementLength() / sizeof(struct sock_filter));
  program.filter = reinterpret_cast<struct sock_filter*>(bytes.Data());
  return Answer(info.Env(), setsockopt(IntArgument(info, 0), SOL_SOCKET, SO_ATTACH_FILTER, &program,
                                       sizeof program));
}

// (fd) -> frames that found the receive buffer full since the last time that this was asked.
Napi::Value Drops(const Napi::CallbackInfo& info) {
  struct tpacket_stats statistics = {};
  socklen_t size = sizeof statistics;
  if (getsockopt(IntArgument(info, 0), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) < 0) {
    return Failure(info.Env());
  }
  return Napi::Number::New(info.Env(), statistics.tp_drops);
}

// (fd) -> bytes of the send buffer that are in use.
napi_value OutgoingBytes(napi_env env, napi_callback_info info) {
  HotCall<1> call(env, info);
  int bytes = 0;
  return call.Number(ioctl(call.Int(0, -1), SIOCOUTQ, &bytes) < 0 ? -errno : bytes);
}

}  // namespace

void InitPacketSocket(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "openPacketSocket");
  Export<Bind>(env, exports, "bindPacketSocket");
  Export<Interface>(env, exports, "packetSocketInterface");
  Export<Option>(env, exports, "socketOption");
  Export<SetOption>(env, exports, "setSocketOption");
  Export<AddMembership>(env, exports, "addPacketMembership");
  Export<AttachFilter>(env, exports, "attachFilter");
  Export<Drops>(env, exports, "packetDrops");
  ExportHot(env, exports, "outgoingBytes", OutgoingBytes);
}
