// Batches of frames to and from a flat buffer.
#include "addon.h"
#include "cursor.h"
#include "hot_call.h"

namespace {

// Frames ahead whose bytes are fetched while one is copied.
constexpr uint32_t kAhead = 8;

struct Flat {
  uint8_t* data;
  size_t length;
};

// The ways for frames that lie in several pieces. Out of line, and with a resolver of their own, so
// that the loops below keep everything in registers: their byte stores could otherwise change it.
[[gnu::noinline]] bool ReadPieces(const Batch& batch, const Windows& windows, uint32_t frame,
                                  uint8_t* to, size_t length) {
  Resolver resolver(windows);
  Cursor cursor(batch, resolver);
  return cursor.Start(frame, 1, batch.control->skip) && cursor.Read(to, length);
}

[[gnu::noinline]] bool WritePieces(const Batch& batch, const Windows& windows, uint32_t chain,
                                   uint32_t chains, const uint8_t* from, size_t length) {
  Resolver resolver(windows);
  Cursor cursor(batch, resolver);
  return cursor.Start(chain, chains, batch.control->skip) && cursor.Write(from, length);
}

// Copies transmit frames into `target`. Returns how many were dealt with.
uint32_t GatherFrames(const Batch& bound, const Windows& windows, uint32_t first, Flat target,
                      size_t at) {
  const Batch batch = bound;
  Resolver resolver(windows);
  const uint32_t count = batch.Count();
  const uint32_t skip = batch.control->skip;
  for (uint32_t frame = first; frame < count; frame += 1) {
    if (frame + kAhead < count) Prefetch<0>(batch, resolver, frame + kAhead, skip);
    const uint32_t whole = batch.lengths[frame];
    const uint32_t length = whole > skip ? whole - skip : 0;
    if (length > target.length - at) return frame - first;
    const uint8_t* piece = OnePiece(batch, resolver, frame, skip, length);
    if (piece != nullptr) {
      CopyBytes(target.data + at, piece, length);
    } else if (!ReadPieces(bound, windows, frame, target.data + at, length)) {
      batch.results[frame] = -EFAULT;
      continue;
    }
    batch.results[frame] = static_cast<int32_t>(length);
    at += length;
  }
  return count > first ? count - first : 0;
}

// Receives frames that lie one after the other in `source`. Returns how many were consumed.
uint32_t ScatterFrames(const Batch& bound, const Windows& windows, const uint8_t* source,
                       const uint32_t* lengths, uint32_t frames) {
  Batch batch = bound;
  Resolver resolver(windows);
  const uint32_t count = batch.Count();
  const uint32_t skip = batch.control->skip;
  uint32_t chain = batch.FilledChains();
  for (uint32_t frame = 0; frame < frames; frame += 1) {
    if (chain + kAhead < count) Prefetch<1>(batch, resolver, chain + kAhead, skip);
    const uint32_t length = lengths[frame];
    uint32_t chains = 0;
    const Fit fit = FindChains(batch, chain, length, &chains);
    if (fit == Fit::kFull) return frame;
    if (fit == Fit::kOversized) {
      batch.control->oversized += 1;
      source += length;
      continue;
    }
    uint8_t* piece = chains == 1 ? OnePiece(batch, resolver, chain, skip, length) : nullptr;
    if (piece != nullptr) {
      CopyBytes(piece, source, length);
    } else if (!WritePieces(bound, windows, chain, chains, source, length)) {
      return frame;
    }
    batch.Deliver(length, chains);
    chain += chains;
    source += length;
  }
  return frames;
}

// (batch, windows, first, target, at) -> frames.
napi_value Gather(napi_env env, napi_callback_info info) {
  HotCall<5> call(env, info);
  const Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  Flat target;
  target.data = call.Elements<uint8_t>(3, napi_uint8_array, &target.length);
  const int64_t at = call.Int64(4);
  if (batch == nullptr || windows == nullptr || at < 0 ||
      static_cast<uint64_t>(at) > target.length) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(GatherFrames(*batch, *windows, call.Unsigned(2), target, at));
}

// (batch, windows, source, at, lengths, firstLength, count) -> frames.
napi_value Scatter(napi_env env, napi_callback_info info) {
  HotCall<7> call(env, info);
  const Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  Flat source;
  source.data = call.Elements<uint8_t>(2, napi_uint8_array, &source.length);
  size_t lengthCount;
  const uint32_t* lengths = call.Elements<uint32_t>(4, napi_uint32_array, &lengthCount);
  const int64_t at = call.Int64(3);
  const uint64_t firstLength = call.Unsigned(5);
  const uint64_t count = call.Unsigned(6);
  if (batch == nullptr || windows == nullptr || at < 0 || firstLength + count > lengthCount) {
    return call.Number(-EINVAL);
  }
  uint64_t end = at;
  for (uint64_t i = 0; i < count; i += 1) end += lengths[firstLength + i];
  if (end > source.length) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(ScatterFrames(*batch, *windows, source.data + at, lengths + firstLength,
                                   static_cast<uint32_t>(count)));
}

}  // namespace

void InitFlatCopy(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "gather", Gather);
  ExportHot(env, exports, "scatter", Scatter);
}
