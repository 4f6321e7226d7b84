// The virtio-net header that a packet socket puts before each frame (PACKET_VNET_HDR). It has 10
// bytes; where 12 are wanted the last two, which only number buffers, are left out of the message.
#pragma once

#include <cstdint>

#include "piece_list.h"

// struct virtio_net_hdr: linux/virtio_net.h does not compile as C++.
struct KernelHeader {
  uint8_t flags;
  uint8_t segmentationType;
  uint16_t headerLength;
  uint16_t segmentSize;
  uint16_t checksumStart;
  uint16_t checksumOffset;
};
constexpr uint8_t kNeedsChecksum = 1;
constexpr uint32_t kKernelHeader = sizeof(KernelHeader);
static_assert(kKernelHeader == 10);

struct HeaderLayout {
  // Before each frame in memory: 0, 10 or 12 bytes.
  uint32_t inMemory;

  uint32_t InMessage() const { return inMemory < kKernelHeader ? 0 : kKernelHeader; }
  uint32_t LeftOut() const { return inMemory - InMessage(); }

  void Apply(PieceList& pieces) const {
    if (LeftOut() > 0) pieces.LeaveOut(kKernelHeader, LeftOut());
  }
};
