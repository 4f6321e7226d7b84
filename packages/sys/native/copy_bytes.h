// A memcpy whose small sizes, those of most frames, are a few vector moves in line. Reads and writes
// no byte outside `length`: the moves overlap in the middle instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace copy_detail {

struct Block16 {
  uint64_t half[2];
};

template <typename T>
inline T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
inline void Store(uint8_t* to, const T& value) {
  std::memcpy(to, &value, sizeof value);
}

// Copies `length` bytes, which are sizeof(T) … 2 * sizeof(T).
template <typename T>
inline void HeadAndTail(uint8_t* to, const uint8_t* from, size_t length) {
  const T head = Load<T>(from);
  const T tail = Load<T>(from + length - sizeof(T));
  Store(to, head);
  Store(to + length - sizeof(T), tail);
}

struct Block32 {
  Block16 half[2];
};
struct Block64 {
  Block32 half[2];
};

}  // namespace copy_detail

inline void CopyBytes(uint8_t* to, const uint8_t* from, size_t length) {
  using namespace copy_detail;
  if (length > 128) {
    std::memcpy(to, from, length);
  } else if (length > 64) {
    HeadAndTail<Block64>(to, from, length);
  } else if (length > 32) {
    HeadAndTail<Block32>(to, from, length);
  } else if (length > 16) {
    HeadAndTail<Block16>(to, from, length);
  } else if (length >= 8) {
    HeadAndTail<uint64_t>(to, from, length);
  } else if (length >= 4) {
    HeadAndTail<uint32_t>(to, from, length);
  } else if (length >= 2) {
    HeadAndTail<uint16_t>(to, from, length);
  } else if (length == 1) {
    *to = *from;
  }
}
