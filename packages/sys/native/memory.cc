// Shared mappings seen through external ArrayBuffers.
//
// Who owns what: a Mapping lives as long as the handle that JavaScript holds or any of its windows'
// backing stores. `unmapShared` detaches the windows (every view of them becomes zero bytes long) and
// unmaps at once. Without it, the last backing store that the garbage collector frees unmaps. Either
// way exactly once: `mapped` says whether that is still to be done.
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "addon.h"
#include "live_memory.h"
#include "memory_guard.h"

namespace {

struct Mapping {
  void* base;
  size_t length;
  // While it is mapped.
  memory_guard::Range* guard;
  bool mapped = true;
  // Backing stores alive, and one for the handle.
  int references = 1;
};

struct Window {
  Mapping* mapping;
  // Set while the buffer is being made: Node 20 runs the finalizer of a buffer that it then refuses
  // to make, so during that time the finalizer only takes note.
  bool creating = true;
  bool finalized = false;
};

void Unmap(Mapping* mapping) {
  if (!mapping->mapped) return;
  mapping->mapped = false;
  live_memory::Unmapped(reinterpret_cast<uintptr_t>(mapping->base), mapping->length);
  memory_guard::Unprotect(mapping->guard);
  munmap(mapping->base, mapping->length);
}

void Drop(Mapping* mapping) {
  mapping->references -= 1;
  if (mapping->references > 0) return;
  Unmap(mapping);
  delete mapping;
}

void FinalizeWindow(napi_env, void*, void* hint) {
  Window* window = static_cast<Window*>(hint);
  if (window->creating) {
    window->finalized = true;
    return;
  }
  if (window->mapping != nullptr) Drop(window->mapping);
  delete window;
}

// One window, or nullptr where the engine refuses external buffers.
napi_value CreateWindow(Napi::Env env, Mapping* mapping, size_t offset, size_t length) {
  Window* window = new Window{mapping};
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, static_cast<char*>(mapping->base) + offset, length, FinalizeWindow, window, &buffer);
  window->creating = false;
  if (status == napi_ok) {
    mapping->references += 1;
    return buffer;
  }
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) {
    napi_value ignored;
    napi_get_and_clear_last_exception(env, &ignored);
  }
  // Whether the finalizer is still to come is not known in general: leave it nothing to release.
  window->mapping = nullptr;
  if (window->finalized || status == napi_no_external_buffers_allowed) delete window;
  return nullptr;
}

// Detaches the windows. False where one was detached by somebody else, who may have moved its
// backing store elsewhere (ArrayBuffer.transfer): then the memory is left to the finalizers.
bool DetachAll(Napi::Env env, Napi::Array windows) {
  bool ours = true;
  for (uint32_t k = 0; k < windows.Length(); k += 1) {
    const Napi::Value window = windows[k];
    bool detached = false;
    napi_is_detached_arraybuffer(env, window, &detached);
    if (detached || napi_detach_arraybuffer(env, window) != napi_ok) ours = false;
  }
  return ours;
}

// A mapping's length must be a multiple of the file's page size, which hugetlbfs reports as its
// block size; munmap insists on it.
size_t PageSize(int fd) {
  struct statfs system;
  if (fstatfs(fd, &system) == 0 && system.f_type == HUGETLBFS_MAGIC) return system.f_bsize;
  return sysconf(_SC_PAGESIZE);
}

// The page size that an offset into fd must be a multiple of.
Napi::Value FilePageSize(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(PageSize(IntArgument(info, 0))));
}

// (fd, offset, size, stride, windowSize, out) -> handle; `out` gets the windows, then the address.
// -EOPNOTSUPP: this engine makes no external buffers.
Napi::Value MapShared(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = IntArgument(info, 0);
  const int64_t offset = info[1].As<Napi::Number>().Int64Value();
  const size_t size = info[2].As<Napi::Number>().Int64Value();
  const size_t stride = info[3].As<Napi::Number>().Int64Value();
  const size_t windowSize = info[4].As<Napi::Number>().Int64Value();
  Napi::Array out = info[5].As<Napi::Array>();

  const size_t page = PageSize(fd);
  const size_t length = (size + page - 1) / page * page;
  void* base =
      mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset);
  if (base == MAP_FAILED) return Failure(env);
  // A guest's memory has no place in our core dumps. Some special files refuse the advice.
  madvise(base, length, MADV_DONTDUMP);
  const uintptr_t address = reinterpret_cast<uintptr_t>(base);
  live_memory::Mapped(env, address, length);

  Mapping* mapping = new Mapping{base, length, memory_guard::Protect(address, length, page)};
  Napi::Array windows = Napi::Array::New(env);
  size_t begin = 0;
  for (uint32_t k = 0; k == 0 || begin + (windowSize - stride) < size; k += 1, begin += stride) {
    napi_value window =
        CreateWindow(env, mapping, begin, size - begin < windowSize ? size - begin : windowSize);
    if (window == nullptr) {
      if (DetachAll(env, windows)) Unmap(mapping);
      Drop(mapping);
      return Failure(env, EOPNOTSUPP);
    }
    windows[k] = Napi::Value(env, window);
  }
  for (uint32_t k = 0; k < windows.Length(); k += 1) out[k] = Napi::Value(windows[k]);
  out[windows.Length()] = Napi::Number::New(env, address);
  return Napi::External<Mapping>::New(env, mapping, [](Napi::Env, Mapping* last) { Drop(last); });
}

// (handle, windows): detaches, then unmaps, once.
Napi::Value UnmapShared(const Napi::CallbackInfo& info) {
  Mapping* mapping = info[0].As<Napi::External<Mapping>>().Data();
  if (mapping->mapped && DetachAll(info.Env(), info[1].As<Napi::Array>())) Unmap(mapping);
  return Napi::Number::New(info.Env(), 0);
}

// (handle) -> whether pages of it have gone missing.
Napi::Value MappingBroken(const Napi::CallbackInfo& info) {
  const Mapping* mapping = info[0].As<Napi::External<Mapping>>().Data();
  return Napi::Boolean::New(info.Env(),
                            mapping->mapped && memory_guard::IsBroken(mapping->guard));
}

// (handle, eventfd or -1): what is signalled when pages go missing, from now on.
void WatchMapping(const Napi::CallbackInfo& info) {
  const Mapping* mapping = info[0].As<Napi::External<Mapping>>().Data();
  if (mapping->mapped) memory_guard::SetWaker(mapping->guard, IntArgument(info, 1));
}

}  // namespace

void InitMemory(Napi::Env env, Napi::Object exports) {
  Export<FilePageSize>(env, exports, "filePageSize");
  Export<MapShared>(env, exports, "mapShared");
  Export<UnmapShared>(env, exports, "unmapShared");
  Export<MappingBroken>(env, exports, "mappingBroken");
  exports.Set("watchMapping", Napi::Function::New<WatchMapping>(env, "watchMapping"));
}
