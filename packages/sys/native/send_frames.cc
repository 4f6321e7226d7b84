// Frames to a socket, one datagram each, many with one call.
#include <sys/socket.h>

#include "addon.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "kernel_header.h"
#include "memory_guard.h"

namespace {

constexpr uint32_t kGroup = 64;
constexpr int kGroupVectors = 2 * kVectorLimit;

struct Group {
  struct mmsghdr messages[kGroup];
  struct iovec vectors[kGroupVectors];
  uint32_t count;

  // Takes frames from `frame` on, until there is no room or one cannot be sent. Returns 0, or that
  // one's negative errno when it is the very first.
  int Fill(const Batch& batch, Resolver& resolver, uint32_t frame, uint32_t end,
           HeaderLayout layout) {
    int used = 0;
    count = 0;
    for (; count < kGroup && frame < end; frame += 1) {
      // Where bytes are left out, a piece may become two.
      const int spare = layout.LeftOut() > 0 ? 1 : 0;
      const int room = (kGroupVectors - used < kVectorLimit ? kGroupVectors - used : kVectorLimit);
      uint64_t bytes = 0;
      const int pieces = AppendChain(batch, resolver, frame, batch.control->skip, vectors + used,
                                     room - spare, &bytes);
      if (pieces < 0) return count == 0 ? pieces : 0;
      PieceList list = {vectors + used, pieces};
      layout.Apply(list);
      messages[count].msg_hdr = {};
      messages[count].msg_hdr.msg_iov = list.vector;
      messages[count].msg_hdr.msg_iovlen = list.count;
      messages[count].msg_len = 0;
      used += list.count;
      count += 1;
    }
    return 0;
  }
};

uint32_t Send(const Batch& batch, const Windows& windows, int fd, uint32_t first,
              HeaderLayout layout) {
  Resolver resolver(windows);
  const uint32_t end = batch.Count();
  Group group;
  uint32_t frame = first;
  while (frame < end) {
    const int refused = group.Fill(batch, resolver, frame, end, layout);
    if (refused < 0) {
      batch.results[frame] = refused;
      frame += 1;
      continue;
    }
    int sent;
    do {
      sent = sendmmsg(fd, group.messages, group.count, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
      if (errno == EAGAIN || (IsExhausted(errno) && frame > first)) return frame - first;
      batch.results[frame] = -errno;
      if (errno == EFAULT) {
        const struct msghdr& unsent = group.messages[0].msg_hdr;
        memory_guard::Touch(unsent.msg_iov, static_cast<int>(unsent.msg_iovlen));
      }
      frame += 1;
      continue;
    }
    // Where it stopped short, the next round begins with the frame that it stopped at, and learns why.
    for (int i = 0; i < sent; i += 1, frame += 1) {
      batch.results[frame] = static_cast<int32_t>(group.messages[i].msg_len + layout.LeftOut());
    }
  }
  return frame - first;
}

// (batch, windows, fd, first, bytes of a virtio-net header before each frame that the socket takes,
// 0 for none) -> frames disposed of.
napi_value SendFrames(napi_env env, napi_callback_info info) {
  HotCall<5> call(env, info);
  const Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  if (batch == nullptr || windows == nullptr) return call.Number(-EINVAL);
  windows->Refresh();
  const HeaderLayout layout = {call.Unsigned(4)};
  return call.Number(Send(*batch, *windows, call.Int(2, -1), call.Unsigned(3), layout));
}

}  // namespace

void InitSendFrames(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "sendFrames", SendFrames);
}
