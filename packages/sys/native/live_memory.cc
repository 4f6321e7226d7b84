#include "live_memory.h"

#include <map>
#include <mutex>
#include <set>

namespace live_memory {
namespace {

struct Mapping {
  size_t size;
  napi_env env;
};

// One for the process: workers share the address space. Never destroyed, since finalizers of other
// threads may run while the process ends.
struct Registry {
  std::mutex lock;
  std::map<uintptr_t, Mapping> mappings;
  std::set<AddressHolder*> holders;
};

Registry& TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

bool Covers(const Registry& registry, napi_env env, uintptr_t address, size_t length) {
  auto next = registry.mappings.upper_bound(address);
  if (next == registry.mappings.begin()) return false;
  const auto& [begin, mapping] = *std::prev(next);
  return mapping.env == env && address + length <= begin + mapping.size;
}

}  // namespace

void Mapped(napi_env env, uintptr_t address, size_t length) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.mappings[address] = {length, env};
}

void Unmapped(uintptr_t address, size_t length) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.mappings.erase(address);
  for (AddressHolder* holder : registry.holders) {
    for (size_t k = 0; k < holder->addresses.size(); k += 1) {
      if (holder->addresses[k] < address || holder->addresses[k] >= address + length) continue;
      holder->dead[k] = true;
      holder->stale = true;
    }
  }
}

void Add(napi_env env, AddressHolder* holder, const uint32_t* length) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.holders.insert(holder);
  for (size_t k = 0; k < holder->addresses.size(); k += 1) {
    // Address 0 says that native code cannot reach the window at all.
    const uintptr_t address = holder->addresses[k];
    if (address == 0 || Covers(registry, env, address, length[k])) continue;
    holder->dead[k] = true;
    holder->stale = true;
  }
}

void Remove(AddressHolder* holder) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.holders.erase(holder);
}

}  // namespace live_memory
