// Chains as I/O vectors.
#pragma once

#include <sys/uio.h>

#include <cerrno>

#include "batch.h"

// The most pieces in one call (IOV_MAX).
constexpr int kVectorLimit = 1024;

// Appends the pieces of one chain, without its first `skip` bytes, and adds their bytes to *bytes.
// Returns how many pieces, or -EFAULT: a segment is not in memory, or -EMSGSIZE: over `limit` pieces.
inline int AppendChain(const Batch& batch, Resolver& resolver, uint32_t chain, uint32_t skip,
                       struct iovec* vector, int limit, uint64_t* bytes) {
  uint32_t segment;
  uint32_t end;
  if (!batch.Segments(chain, &segment, &end)) return -EFAULT;
  int count = 0;
  for (; segment < end; segment += 1) {
    const uint32_t length = batch.length[segment];
    uint8_t* piece = resolver.At(batch.window[segment], batch.offset[segment], length);
    if (piece == nullptr) return -EFAULT;
    if (length <= skip) {
      skip -= length;
      continue;
    }
    if (count == limit) return -EMSGSIZE;
    vector[count].iov_base = piece + skip;
    vector[count].iov_len = length - skip;
    *bytes += length - skip;
    skip = 0;
    count += 1;
  }
  return count;
}

// The kernel is out of something that readiness does not wait for; see frames.ts.
inline bool IsExhausted(int error) { return error == ENOBUFS || error == ENOMEM; }

// The space that one received frame may fill.
struct FrameSpace {
  struct iovec vector[kVectorLimit];
  int vectors = 0;
  uint32_t chains = 0;
  uint64_t room = 0;
  // Bytes that the first k + 1 chains hold.
  uint64_t roomAfter[kVectorLimit];

  // Takes chains from `first` on until they hold `enough` bytes or are `limit`. False: the first one
  // cannot be used at all.
  bool Take(const Batch& batch, Resolver& resolver, uint32_t first, uint32_t limit,
            uint64_t enough) {
    vectors = 0;
    chains = 0;
    room = 0;
    if (limit > kVectorLimit) limit = kVectorLimit;
    while (chains < limit && (chains == 0 || room < enough)) {
      uint64_t bytes = 0;
      const uint32_t skip = chains == 0 ? batch.control->skip : 0;
      // One piece is kept for what passes the chains' end.
      const int added = AppendChain(batch, resolver, first + chains, skip, vector + vectors,
                                    kVectorLimit - 1 - vectors, &bytes);
      if (added < 0) return chains > 0;
      vectors += added;
      room += bytes;
      roomAfter[chains] = room;
      chains += 1;
    }
    return true;
  }

  // How many chains a frame of `length` bytes fills, at least 1.
  uint32_t ChainsFor(uint64_t length) const {
    uint32_t used = 1;
    while (used < chains && roomAfter[used - 1] < length) used += 1;
    return used;
  }
};
