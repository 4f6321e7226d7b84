// Binds typed arrays once, so that a call on a batch of frames looks nothing up.
#include "batch.h"

#include "addon.h"

namespace {

// Element count of a typed array at `index` of `arrays`, its data in `data`. Throws on another type.
template <typename T, typename Array>
size_t Elements(const Napi::Array& arrays, uint32_t index, T** data) {
  Array array = Napi::Value(arrays[index]).As<Array>();
  *data = array.Data();
  return array.ElementLength();
}

size_t Words(const Napi::Array& arrays, uint32_t index, const uint32_t** data) {
  uint32_t* words = nullptr;
  const size_t count = Elements<uint32_t, Napi::Uint32Array>(arrays, index, &words);
  *data = words;
  return count;
}

// ([control, firstSegment, lengths, window, offset, length, frameLengths, frameChains, results])
// -> handle. -EINVAL: the arrays' lengths do not fit together.
Napi::Value BindBatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Array arrays = info[0].As<Napi::Array>();
  Batch batch = {};
  uint32_t* control = nullptr;
  const size_t controls = Elements<uint32_t, Napi::Uint32Array>(arrays, 0, &control);
  const size_t firsts = Words(arrays, 1, &batch.firstSegment);
  const size_t capacity = Words(arrays, 2, &batch.lengths);
  const size_t segments = Words(arrays, 3, &batch.window);
  bool fits = controls * sizeof *control >= sizeof(BatchControl) && firsts > capacity;
  fits = fits && Words(arrays, 4, &batch.offset) == segments;
  fits = fits && Words(arrays, 5, &batch.length) == segments;
  fits = fits && Elements<uint32_t, Napi::Uint32Array>(arrays, 6, &batch.frameLengths) == capacity;
  fits = fits && Elements<uint32_t, Napi::Uint32Array>(arrays, 7, &batch.frameChains) == capacity;
  fits = fits && Elements<int32_t, Napi::Int32Array>(arrays, 8, &batch.results) == capacity;
  if (!fits || capacity > UINT16_MAX || segments > INT32_MAX) return Failure(env, EINVAL);
  batch.control = reinterpret_cast<BatchControl*>(control);
  batch.capacity = static_cast<uint32_t>(capacity);
  batch.segmentCapacity = static_cast<uint32_t>(segments);
  return Napi::External<Batch>::New(env, new Batch(batch),
                                    [](Napi::Env, Batch* last) { delete last; });
}

// (address Float64Array, length Uint32Array) -> handle.
Napi::Value BindWindows(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Float64Array address = info[0].As<Napi::Float64Array>();
  Napi::Uint32Array length = info[1].As<Napi::Uint32Array>();
  const size_t count = address.ElementLength();
  if (length.ElementLength() != count) return Failure(env, EINVAL);
  Windows* windows = new Windows;
  windows->address = address.Data();
  windows->length = length.Data();
  windows->count = static_cast<uint32_t>(count);
  windows->dead = std::vector<std::atomic<bool>>(count);
  for (size_t k = 0; k < count; k += 1) {
    windows->addresses.push_back(static_cast<uintptr_t>(windows->address[k]));
  }
  live_memory::Add(env, windows, windows->length);
  return Napi::External<Windows>::New(env, windows, [](Napi::Env, Windows* last) {
    live_memory::Remove(last);
    delete last;
  });
}

}  // namespace

void InitBatch(Napi::Env env, Napi::Object exports) {
  Export<BindBatch>(env, exports, "bindBatch");
  Export<BindWindows>(env, exports, "bindWindows");
}
