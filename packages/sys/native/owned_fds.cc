#include "owned_fds.h"

#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "memory_guard.h"

namespace owned_fds {
namespace {

// Never destroyed: threads may end while the process does.
struct Registry {
  std::mutex lock;
  std::set<napi_env> owners;
  std::map<int, napi_env> owner;
};

Registry& TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

// Takes an environment and all that is its own off the account.
std::vector<int> Remove(napi_env env) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.owners.erase(env);
  std::vector<int> fds;
  for (auto entry = registry.owner.begin(); entry != registry.owner.end();) {
    if (entry->second == env) {
      fds.push_back(entry->first);
      entry = registry.owner.erase(entry);
    } else {
      ++entry;
    }
  }
  return fds;
}

// Cleanup hooks run latest first, and this one is among the earliest: polls and the windows of mappings
// are gone by now, so nothing looks at these fds any more but the SIGBUS guard.
void OnCleanup(void* data) {
  for (const int fd : Remove(static_cast<napi_env>(data))) {
    memory_guard::ForgetWaker(fd);
    close(fd);
  }
}

}  // namespace

void Register(napi_env env) {
  Registry& registry = TheRegistry();
  {
    std::lock_guard<std::mutex> guard(registry.lock);
    if (!registry.owners.insert(env).second) return;
  }
  napi_add_env_cleanup_hook(env, OnCleanup, env);
}

int Take(napi_env env, int fd) {
  if (fd < 0) return fd;
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  if (registry.owners.count(env) != 0) {
    registry.owner[fd] = env;
  } else {
    registry.owner.erase(fd);
  }
  return fd;
}

void Forget(int fd) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  registry.owner.erase(fd);
}

}  // namespace owned_fds
