// Walks the bytes of one or more chains in contiguous pieces.
#pragma once

#include "batch.h"
#include "copy_bytes.h"

class Cursor {
 public:
  Cursor(const Batch& batch, Resolver& resolver) : batch_(batch), resolver_(resolver) {}

  // Starts at byte `skip` of the chains `first … first + chains - 1`. False: not chains of the batch.
  bool Start(uint32_t first, uint32_t chains, uint32_t skip) {
    uint32_t ignored;
    if (!batch_.Segments(first, &segment_, &ignored)) return false;
    if (!batch_.Segments(first + chains - 1, &ignored, &end_)) return false;
    while (segment_ < end_ && batch_.length[segment_] <= skip) {
      skip -= batch_.length[segment_];
      segment_ += 1;
    }
    done_ = skip;
    return true;
  }

  // The next piece, of 1 … `most` bytes; nullptr at the end and where memory is not accessible.
  uint8_t* Next(size_t most, size_t* length) {
    while (segment_ < end_ && batch_.length[segment_] <= done_) {
      segment_ += 1;
      done_ = 0;
    }
    if (segment_ >= end_) return nullptr;
    const uint32_t whole = batch_.length[segment_];
    uint8_t* begin = resolver_.At(batch_.window[segment_], batch_.offset[segment_], whole);
    if (begin == nullptr) return nullptr;
    uint8_t* piece = begin + done_;
    *length = whole - done_ < most ? whole - done_ : most;
    done_ += static_cast<uint32_t>(*length);
    return piece;
  }

  // Copies `length` bytes out. False: there are not that many accessible.
  bool Read(uint8_t* to, size_t length) {
    while (length > 0) {
      size_t got;
      const uint8_t* piece = Next(length, &got);
      if (piece == nullptr) return false;
      CopyBytes(to, piece, got);
      to += got;
      length -= got;
    }
    return true;
  }

  // Copies `length` bytes in. False: there is not that much accessible space.
  bool Write(const uint8_t* from, size_t length) {
    while (length > 0) {
      size_t got;
      uint8_t* piece = Next(length, &got);
      if (piece == nullptr) return false;
      CopyBytes(piece, from, got);
      from += got;
      length -= got;
    }
    return true;
  }

 private:
  const Batch& batch_;
  Resolver& resolver_;
  uint32_t segment_ = 0;
  uint32_t end_ = 0;
  // Bytes of the segment that are behind us.
  uint32_t done_ = 0;
};

enum class Fit { kDelivered, kFull, kOversized };

// How many of the chains from `first` on a frame of `length` bytes needs: the rule of
// PacketBatch.deliver.
inline Fit FindChains(const Batch& batch, uint32_t first, uint64_t length, uint32_t* chains) {
  const uint32_t count = batch.Count();
  int64_t room = 0;
  uint32_t used = 0;
  while (used == 0 || room < static_cast<int64_t>(length)) {
    if (batch.Outgrown(first, used)) return Fit::kOversized;
    if (first + used >= count) {
      batch.control->wantsMore = 1;
      return Fit::kFull;
    }
    room += int64_t{batch.lengths[first + used]} - (used == 0 ? batch.control->skip : 0);
    used += 1;
  }
  *chains = used;
  return Fit::kDelivered;
}

// The one contiguous piece that a frame of `length` bytes behind `skip` is in, for a chain whose
// frame lies in one segment: as most do, header apart or not. nullptr for any other.
inline uint8_t* OnePiece(const Batch& batch, Resolver& resolver, uint32_t chain, uint32_t skip,
                         uint64_t length) {
  uint32_t segment;
  uint32_t end;
  if (!batch.Segments(chain, &segment, &end) || segment == end) return nullptr;
  uint32_t bytes = batch.length[segment];
  if (bytes == skip && segment + 1 < end) {
    segment += 1;
    skip = 0;
    bytes = batch.length[segment];
  }
  if (uint64_t{skip} + length > bytes) return nullptr;
  uint8_t* begin = resolver.At(batch.window[segment], batch.offset[segment], bytes);
  return begin == nullptr ? nullptr : begin + skip;
}

// Fetches the first 64 bytes of the frame in a chain that is some frames ahead.
template <int for_write>
inline void Prefetch(const Batch& batch, const Resolver& resolver, uint32_t chain, uint32_t skip) {
  uint32_t segment = batch.firstSegment[chain];
  if (segment + 1 >= batch.segmentCapacity) return;
  if (batch.length[segment] == skip) {
    segment += 1;
    skip = 0;
  }
  const uint8_t* hint = resolver.Hint(batch.window[segment], batch.offset[segment]);
  if (hint == nullptr) return;
  __builtin_prefetch(hint + skip, for_write);
  __builtin_prefetch(hint + skip + 63, for_write);
}
