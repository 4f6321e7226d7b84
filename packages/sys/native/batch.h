// A PacketBatch and its WindowTable as native code sees them: pointers into the typed arrays, taken
// once, and the checks that make a pointer of a segment.
//
// The TypeScript side keeps the arrays alive and looks before every call whether one was detached
// (then the pointers here would dangle); see batch-binding.ts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "live_memory.h"

// The numbers that change from call to call; TypeScript writes them, and reads the last three back.
struct BatchControl {
  uint32_t count;
  uint32_t skip;
  uint32_t chainsPerFrame;
  uint32_t largest;
  uint32_t frameCount;
  uint32_t oversized;
  uint32_t wantsMore;
};

struct Batch {
  BatchControl* control;
  const uint32_t* firstSegment;
  const uint32_t* lengths;
  const uint32_t* window;
  const uint32_t* offset;
  const uint32_t* length;
  uint32_t* frameLengths;
  uint32_t* frameChains;
  int32_t* results;
  uint32_t capacity;
  uint32_t segmentCapacity;

  uint32_t Count() const { return control->count < capacity ? control->count : capacity; }

  // Chain i's segments are begin … end - 1. False where the indices are not of this batch.
  bool Segments(uint32_t chain, uint32_t* begin, uint32_t* end) const {
    *begin = firstSegment[chain];
    *end = firstSegment[chain + 1];
    return *begin <= *end && *end <= segmentCapacity;
  }

  // Chains that the frames received so far fill.
  uint32_t FilledChains() const {
    uint64_t chains = 0;
    for (uint32_t f = 0; f < control->frameCount && f < capacity; f += 1) chains += frameChains[f];
    return chains < capacity ? static_cast<uint32_t>(chains) : capacity;
  }

  uint32_t ChainsPerFrame() const {
    return control->chainsPerFrame == 0 ? 1 : control->chainsPerFrame;
  }

  // A frame that does not fit `chains` chains from `first` on will not fit later either: it has all
  // that it may have, or all that there will ever be.
  bool Outgrown(uint32_t first, uint32_t chains) const {
    if (chains == ChainsPerFrame()) return true;
    return chains > 0 && first == 0 && chains == Count() && control->largest != 0;
  }

  void Deliver(uint32_t frameLength, uint32_t chains) {
    if (control->frameCount >= capacity) return;
    frameLengths[control->frameCount] = frameLength;
    frameChains[control->frameCount] = chains;
    control->frameCount += 1;
  }
};

class Windows : public AddressHolder {
 public:
  double* address;
  uint32_t* length;
  uint32_t count;

  // Writes off windows whose memory was unmapped although nobody called invalidate().
  void Refresh() {
    if (!stale.exchange(false)) return;
    for (uint32_t k = 0; k < count; k += 1) {
      if (!dead[k]) continue;
      address[k] = 0;
      length[k] = 0;
    }
  }
};

// Turns segments into pointers. Remembers the window of the last one, which is mostly the next's.
class Resolver {
 public:
  explicit Resolver(const Windows& windows) : windows_(windows) {}

  // The segment's bytes, or nullptr where they are not all inside a mapped window.
  uint8_t* At(uint32_t window, uint32_t offset, uint32_t length) {
    if (window != window_ && !Select(window)) return nullptr;
    if (uint64_t{offset} + length > limit_) return nullptr;
    return base_ + offset;
  }

  // Where the segment would be: to prefetch, not to read.
  const uint8_t* Hint(uint32_t window, uint32_t offset) const {
    return window == window_ ? base_ + offset : nullptr;
  }

 private:
  bool Select(uint32_t window) {
    if (window >= windows_.count) return false;
    const uintptr_t address = static_cast<uintptr_t>(windows_.address[window]);
    if (address == 0) return false;
    window_ = window;
    base_ = reinterpret_cast<uint8_t*>(address);
    limit_ = windows_.length[window];
    return true;
  }

  const Windows& windows_;
  uint32_t window_ = UINT32_MAX;
  uint8_t* base_ = nullptr;
  uint64_t limit_ = 0;
};
