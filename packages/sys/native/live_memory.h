// Which memory is mapped now, process-wide, and who has taken an address of it. A window table that
// outlives its memory is told so here, and refuses its segments instead of following them.
//
// Memory is used only by the thread that mapped it: only there can it not be unmapped in the middle of
// a native call. To a window table of another thread it counts as not mapped at all.
#pragma once

#include <node_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

// Somebody who keeps addresses of mapped memory.
class AddressHolder {
 public:
  virtual ~AddressHolder() = default;

  // Where the windows began when they were taken; never changes.
  std::vector<uintptr_t> addresses;
  // Window k lost its memory: written under the registry's lock, by any thread.
  std::vector<std::atomic<bool>> dead;
  // Some window is dead and the holder has not looked yet.
  std::atomic<bool> stale{false};
};

namespace live_memory {

void Mapped(napi_env env, uintptr_t address, size_t length);
// To be called before the memory goes.
void Unmapped(uintptr_t address, size_t length);

// Registers a holder; windows whose `length` bytes are not all mapped by the same thread are dead from
// the start.
void Add(napi_env env, AddressHolder* holder, const uint32_t* length);
void Remove(AddressHolder* holder);

}  // namespace live_memory
