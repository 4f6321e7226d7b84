// Frames from a packet socket. As receive_frames.cc, and in addition:
//
// The kernel takes a VLAN tag out of a frame and tells it apart, in ancillary data (PACKET_AUXDATA):
// here it is put back (T56). Frames may be preceded by the kernel's virtio-net header.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "addon.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "kernel_header.h"
#include "memory_guard.h"

namespace {

constexpr uint32_t kGroup = 64;
constexpr int kGroupVectors = 2 * kVectorLimit;
constexpr uint32_t kTagBytes = 4;
constexpr uint32_t kAddressBytes = 2 * ETH_ALEN;
// What a frame is expected not to pass: a segment of 64 KiB and the headers before it.
constexpr uint64_t kLargestPacket = 65536 + 64;
constexpr size_t kControlBytes = CMSG_SPACE(sizeof(struct tpacket_auxdata));

struct Tag {
  uint8_t bytes[kTagBytes];
};

// One message: where it goes, and what came with it.
struct Message {
  struct msghdr* header;
  PieceList pieces;
  // Bytes of the pieces.
  uint64_t room;
};

void Prepare(struct msghdr& header, const PieceList& pieces, void* control) {
  header = {};
  header.msg_iov = pieces.vector;
  header.msg_iovlen = pieces.count;
  header.msg_control = control;
  header.msg_controllen = kControlBytes;
}

// The tag that the kernel took out of a frame. False: it took none.
bool FindTag(struct msghdr& header, Tag* tag) {
  for (struct cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
    struct tpacket_auxdata data;
    if (c->cmsg_len < CMSG_LEN(sizeof data)) return false;
    std::memcpy(&data, CMSG_DATA(c), sizeof data);
    if ((data.tp_status & TP_STATUS_VLAN_VALID) == 0) return false;
    const bool named = (data.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
    const uint16_t type = named ? data.tp_vlan_tpid : ETH_P_8021Q;
    *tag = {{static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type),
             static_cast<uint8_t>(data.tp_vlan_tci >> 8), static_cast<uint8_t>(data.tp_vlan_tci)}};
    return true;
  }
  return false;
}

// Moves what the header says of the bytes behind the tag.
void ShiftHeader(const PieceList& pieces) {
  KernelHeader header;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(&header);
  pieces.Read(0, bytes, sizeof header);
  if ((header.flags & kNeedsChecksum) != 0) header.checksumStart += kTagBytes;
  if (header.segmentationType != 0) header.headerLength += kTagBytes;
  pieces.Write(0, bytes, sizeof header);
}

// Puts the tag behind the addresses of a message of `length` bytes; there is room for it.
void RestoreTag(const PieceList& pieces, const Tag& tag, uint32_t length, HeaderLayout layout) {
  const uint32_t at = layout.InMessage() + kAddressBytes;
  if (length < at) return;
  std::vector<uint8_t> rest(length - at);
  pieces.Read(at, rest.data(), rest.size());
  pieces.Write(at, tag.bytes, kTagBytes);
  pieces.Write(at + kTagBytes, rest.data(), rest.size());
  if (layout.InMessage() > 0) ShiftHeader(pieces);
}

// Completes a received message in place. Its length, or 0 when it does not fit.
uint32_t Complete(const Message& message, uint32_t length, HeaderLayout layout) {
  if ((message.header->msg_flags & MSG_TRUNC) != 0 || length > message.room) return 0;
  Tag tag;
  if (!FindTag(*message.header, &tag)) return length;
  if (uint64_t{length} + kTagBytes > message.room) return 0;
  RestoreTag(message.pieces, tag, length, layout);
  return length + kTagBytes;
}

// A frame that was too large leaves its chain free, and frames fill chains without gaps: those that
// came after it in the same call move down. False: this one is too large for where it would go.
bool MoveDown(const Message& from, const Message& to, uint32_t length) {
  if (length > to.room) return false;
  std::vector<uint8_t> bytes(length);
  from.pieces.Read(0, bytes.data(), length);
  to.pieces.Write(0, bytes.data(), length);
  return true;
}

struct Progress {
  uint32_t chain;
  uint32_t messages = 0;
  int error = 0;

  // What a call that gave nothing means. True: there may be more all the same.
  bool Failed(Batch& batch, const PieceList& pieces) {
    if (errno != EINVAL) {
      error = errno;
      if (error == EFAULT) memory_guard::Touch(pieces.vector, pieces.count);
      return false;
    }
    // A frame that no virtio-net header can describe. It is gone.
    messages += 1;
    batch.control->oversized += 1;
    return true;
  }
};

class Receiver {
 public:
  Receiver(Batch& batch, Resolver& resolver, int fd, HeaderLayout layout)
      : batch_(batch), resolver_(resolver), fd_(fd), layout_(layout) {}

  // As many frames as there are messages in a group, one for each chain. True: there may be more.
  bool Group(Progress& progress) {
    const uint32_t base = progress.chain;
    const uint32_t count = FillGroup(base);
    if (count == 0) return false;
    int got;
    do {
      got = recvmmsg(fd_, group_, count, MSG_DONTWAIT | MSG_TRUNC, nullptr);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return progress.Failed(batch_, {vectors_, used_});
    for (int i = 0; i < got; i += 1) {
      progress.messages += 1;
      Message message = At(i);
      const uint32_t length = Complete(message, group_[i].msg_len, layout_);
      const uint32_t to = progress.chain - base;
      if (length == 0 || (to != static_cast<uint32_t>(i) && !MoveDown(message, At(to), length))) {
        batch_.control->oversized += 1;
        continue;
      }
      batch_.Deliver(length + layout_.LeftOut(), 1);
      progress.chain += 1;
    }
    return static_cast<uint32_t>(got) == count;
  }

  // One frame over as many chains as it needs. True: there may be more.
  bool One(Progress& progress) {
    const uint32_t left = batch_.Count() - progress.chain;
    const uint32_t perFrame = batch_.ChainsPerFrame();
    const uint32_t limit = perFrame < left ? perFrame : left;
    if (!space_.Take(batch_, resolver_, progress.chain, limit, kLargestPacket)) return false;
    if (space_.room < layout_.LeftOut()) return false;
    struct msghdr header;
    Message message = {&header, {space_.vector, space_.vectors}, space_.room - layout_.LeftOut()};
    layout_.Apply(message.pieces);
    if (space_.room < kLargestPacket && !batch_.Outgrown(progress.chain, space_.chains) &&
        NextLength() > message.room) {
      batch_.control->wantsMore = 1;
      return false;
    }
    Prepare(header, message.pieces, controls_[0]);
    ssize_t received;
    do {
      received = recvmsg(fd_, &header, MSG_DONTWAIT | MSG_TRUNC);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return progress.Failed(batch_, message.pieces);
    progress.messages += 1;
    const uint32_t length = Complete(message, static_cast<uint32_t>(received), layout_);
    if (length == 0) {
      batch_.control->oversized += 1;
      return true;
    }
    const uint32_t whole = length + layout_.LeftOut();
    const uint32_t chains = space_.ChainsFor(whole);
    batch_.Deliver(whole, chains);
    progress.chain += chains;
    return true;
  }

 private:
  Message At(uint32_t index) {
    struct msghdr& header = group_[index].msg_hdr;
    return {&header, {header.msg_iov, static_cast<int>(header.msg_iovlen)}, room_[index]};
  }

  uint32_t FillGroup(uint32_t first) {
    used_ = 0;
    uint32_t count = 0;
    for (; count < kGroup && first + count < batch_.Count(); count += 1) {
      // One place is kept for where the header is cut in two.
      const int left = kGroupVectors - used_ < kVectorLimit ? kGroupVectors - used_ : kVectorLimit;
      uint64_t room = 0;
      const int pieces = left == 0 ? -EMSGSIZE
                                   : AppendChain(batch_, resolver_, first + count,
                                                 batch_.control->skip, vectors_ + used_, left - 1,
                                                 &room);
      if (pieces < 0 || room < layout_.LeftOut()) break;
      PieceList list = {vectors_ + used_, pieces};
      layout_.Apply(list);
      Prepare(group_[count].msg_hdr, list, controls_[count]);
      room_[count] = room - layout_.LeftOut();
      used_ += list.count;
    }
    return count;
  }

  // How long the next message is, its tag counted in (C15). Any error shows itself at the real
  // receive: 0.
  uint64_t NextLength() {
    uint8_t start[kKernelHeader];
    struct iovec piece = {start, sizeof start};
    struct msghdr header;
    Prepare(header, {&piece, 1}, controls_[0]);
    const ssize_t length = recvmsg(fd_, &header, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (length < 0) return 0;
    Tag tag;
    return static_cast<uint64_t>(length) + (FindTag(header, &tag) ? kTagBytes : 0);
  }

  Batch& batch_;
  Resolver& resolver_;
  const int fd_;
  const HeaderLayout layout_;
  struct mmsghdr group_[kGroup];
  struct iovec vectors_[kGroupVectors];
  int used_ = 0;
  uint64_t room_[kGroup];
  alignas(struct cmsghdr) uint8_t controls_[kGroup][kControlBytes];
  FrameSpace space_;
};

int64_t Receive(Batch& batch, const Windows& windows, int fd, HeaderLayout layout) {
  Resolver resolver(windows);
  Receiver receiver(batch, resolver, fd, layout);
  Progress progress = {batch.FilledChains()};
  // Frames that are too large fill no chain: the messages are counted too, so that they end.
  const uint32_t budget = 2 * batch.capacity;
  bool more = true;
  while (more && progress.chain < batch.Count() && progress.messages < budget) {
    more = batch.ChainsPerFrame() == 1 ? receiver.Group(progress) : receiver.One(progress);
  }
  if (progress.error != 0 && progress.error != EAGAIN && progress.messages == 0) {
    return -progress.error;
  }
  return progress.chain;
}

// (batch, windows, fd, bytes of header) -> chains filled.
napi_value ReceivePackets(napi_env env, napi_callback_info info) {
  HotCall<4> call(env, info);
  Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  const HeaderLayout layout = {call.Unsigned(3)};
  if (batch == nullptr || windows == nullptr) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(Receive(*batch, *windows, call.Int(2, -1), layout));
}

}  // namespace

void InitReceivePackets(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "receivePackets", ReceivePackets);
}
