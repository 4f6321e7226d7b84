// The pieces of one message as one row of bytes.
#pragma once

#include <sys/uio.h>

#include <cstddef>

#include "copy_bytes.h"

struct PieceList {
  struct iovec* vector;
  int count;

  // Leaves `bytes` bytes out from byte `at` on. May need one place more in `vector`.
  void LeaveOut(size_t at, size_t bytes) {
    int k = 0;
    while (k < count && at >= vector[k].iov_len) {
      at -= vector[k].iov_len;
      k += 1;
    }
    for (; bytes > 0 && k < count; k += 1, at = 0) {
      uint8_t* base = static_cast<uint8_t*>(vector[k].iov_base);
      const size_t length = vector[k].iov_len;
      const size_t here = length - at < bytes ? length - at : bytes;
      bytes -= here;
      if (at == 0) {
        vector[k] = {base + here, length - here};
      } else if (at + here == length) {
        vector[k].iov_len = at;
      } else {
        for (int moved = count; moved > k + 1; moved -= 1) vector[moved] = vector[moved - 1];
        vector[k].iov_len = at;
        vector[k + 1] = {base + at + here, length - at - here};
        count += 1;
      }
    }
  }

  // Copies up to `length` bytes from byte `at` on into `to`.
  void Read(size_t at, uint8_t* to, size_t length) const {
    Walk(at, length, [&](uint8_t* piece, size_t bytes) {
      CopyBytes(to, piece, bytes);
      to += bytes;
    });
  }

  // Copies up to `length` bytes over those from byte `at` on.
  void Write(size_t at, const uint8_t* from, size_t length) const {
    Walk(at, length, [&](uint8_t* piece, size_t bytes) {
      CopyBytes(piece, from, bytes);
      from += bytes;
    });
  }

 private:
  template <typename Visit>
  void Walk(size_t at, size_t length, Visit visit) const {
    for (int k = 0; k < count && length > 0; k += 1) {
      const size_t all = vector[k].iov_len;
      if (at >= all) {
        at -= all;
        continue;
      }
      const size_t bytes = all - at < length ? all - at : length;
      visit(static_cast<uint8_t*>(vector[k].iov_base) + at, bytes);
      length -= bytes;
      at = 0;
    }
  }
};
