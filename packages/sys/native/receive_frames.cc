// Frames from a socket, one from each datagram, many with one call.
#include <sys/socket.h>

#include "addon.h"
#include "cursor.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "memory_guard.h"

namespace {

constexpr uint32_t kGroup = 64;
constexpr int kGroupVectors = 2 * kVectorLimit;
// No datagram is larger.
constexpr uint64_t kLargestDatagram = 65536 + 64;

// What a run of receiving has come to.
struct Progress {
  uint32_t chain;
  uint32_t messages = 0;
  int error = 0;
};

// Whether a message of no bytes on fd means that the other end has closed.
bool IsConnection(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return false;
  return type == SOCK_SEQPACKET || type == SOCK_STREAM;
}

struct Group {
  struct mmsghdr messages[kGroup];
  struct iovec vectors[kGroupVectors];
  uint64_t room[kGroup];
  uint32_t count;
  int used;

  // One message for each chain from `first` on.
  void Fill(const Batch& batch, Resolver& resolver, uint32_t first, uint32_t end) {
    used = 0;
    count = 0;
    while (count < kGroup && first + count < end) {
      const int left = kGroupVectors - used;
      room[count] = 0;
      const int pieces = AppendChain(batch, resolver, first + count, batch.control->skip,
                                     vectors + used, left < kVectorLimit ? left : kVectorLimit,
                                     &room[count]);
      if (pieces < 0) return;
      messages[count].msg_hdr = {};
      messages[count].msg_hdr.msg_iov = vectors + used;
      messages[count].msg_hdr.msg_iovlen = pieces;
      used += pieces;
      count += 1;
    }
  }
};

// A frame that was too large leaves its chain free, and frames fill chains without gaps: those that
// came after it in the same call move down. False: this one is too large for where it would go.
bool MoveDown(const Batch& batch, Resolver& resolver, uint32_t from, uint32_t to, size_t length) {
  const uint32_t skip = batch.control->skip;
  Cursor source(batch, resolver);
  Cursor target(batch, resolver);
  if (int64_t{batch.lengths[to]} - skip < static_cast<int64_t>(length)) return false;
  if (!source.Start(from, 1, skip) || !target.Start(to, 1, skip)) return false;
  while (length > 0) {
    size_t got;
    const uint8_t* piece = source.Next(length, &got);
    if (piece == nullptr || !target.Write(piece, got)) return false;
    length -= got;
  }
  return true;
}

// One group of single-chain frames. True: there may be more.
bool ReceiveGroup(Batch& batch, Resolver& resolver, int fd, Progress& progress) {
  Group group;
  const uint32_t base = progress.chain;
  group.Fill(batch, resolver, base, batch.Count());
  if (group.count == 0) return false;
  int got;
  do {
    got = recvmmsg(fd, group.messages, group.count, MSG_DONTWAIT | MSG_TRUNC, nullptr);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    progress.error = errno;
    if (progress.error == EFAULT) memory_guard::Touch(group.vectors, group.used);
    return false;
  }
  for (int i = 0; i < got; i += 1) {
    const uint32_t length = group.messages[i].msg_len;
    if (length == 0 && IsConnection(fd)) {
      progress.error = ESHUTDOWN;
      return false;
    }
    progress.messages += 1;
    const uint32_t from = base + i;
    const bool truncated = (group.messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    if (truncated || length > group.room[i] ||
        (from != progress.chain && !MoveDown(batch, resolver, from, progress.chain, length))) {
      batch.control->oversized += 1;
      continue;
    }
    batch.Deliver(length, 1);
    progress.chain += 1;
  }
  return static_cast<uint32_t>(got) == group.count;
}

// How long the next datagram is. Any error shows itself at the real receive: 0.
uint64_t NextLength(int fd) {
  const ssize_t length = recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  return length > 0 ? length : 0;
}

// One frame over as many chains as it needs. True: there may be more.
bool ReceiveOne(Batch& batch, Resolver& resolver, int fd, FrameSpace& space, Progress& progress) {
  const uint32_t left = batch.Count() - progress.chain;
  const uint32_t perFrame = batch.ChainsPerFrame();
  const uint32_t limit = perFrame < left ? perFrame : left;
  if (!space.Take(batch, resolver, progress.chain, limit, kLargestDatagram)) return false;
  if (space.room < kLargestDatagram && !batch.Outgrown(progress.chain, space.chains) &&
      NextLength(fd) > space.room) {
    batch.control->wantsMore = 1;
    return false;
  }
  struct msghdr message = {};
  message.msg_iov = space.vector;
  message.msg_iovlen = space.vectors;
  ssize_t length;
  do {
    length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
  } while (length < 0 && errno == EINTR);
  if (length < 0 || (length == 0 && IsConnection(fd))) {
    progress.error = length < 0 ? errno : ESHUTDOWN;
    if (progress.error == EFAULT) memory_guard::Touch(space.vector, space.vectors);
    return false;
  }
  progress.messages += 1;
  if (static_cast<uint64_t>(length) > space.room || (message.msg_flags & MSG_TRUNC) != 0) {
    batch.control->oversized += 1;
    return true;
  }
  const uint32_t chains = space.ChainsFor(length);
  batch.Deliver(static_cast<uint32_t>(length), chains);
  progress.chain += chains;
  return true;
}

int64_t Receive(Batch& batch, const Windows& windows, int fd) {
  Resolver resolver(windows);
  Progress progress = {batch.FilledChains()};
  // Frames that are too large fill no chain: the messages are counted too, so that they end.
  const uint32_t budget = 2 * batch.capacity;
  bool more = true;
  if (batch.ChainsPerFrame() == 1) {
    while (more && progress.chain < batch.Count() && progress.messages < budget) {
      more = ReceiveGroup(batch, resolver, fd, progress);
    }
  } else {
    FrameSpace space;
    while (more && progress.chain < batch.Count() && progress.messages < budget) {
      more = ReceiveOne(batch, resolver, fd, space, progress);
    }
  }
  if (progress.error != 0 && progress.error != EAGAIN && progress.messages == 0) {
    return -progress.error;
  }
  return progress.chain;
}

// (batch, windows, fd) -> chains filled.
napi_value ReceiveFrames(napi_env env, napi_callback_info info) {
  HotCall<3> call(env, info);
  Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  if (batch == nullptr || windows == nullptr) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(Receive(*batch, *windows, call.Int(2, -1)));
}

}  // namespace

void InitReceiveFrames(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "receiveFrames", ReceiveFrames);
}
