// Frames from one guest's memory straight into another's.
#include "addon.h"
#include "cursor.h"
#include "hot_call.h"

namespace {

// Frames ahead whose bytes, and whose space, are fetched while one is copied.
constexpr uint32_t kAhead = 8;

enum class Outcome { kCopied, kSourceFault, kTargetFault };

// The way for frames that lie in several pieces. Out of line, and with resolvers of its own, so that
// the loop below keeps everything in registers: its byte stores could otherwise change it.
[[gnu::noinline]] Outcome CopyPieces(const Batch& from, const Windows& fromWindows, uint32_t frame,
                                     const Batch& to, const Windows& toWindows, uint32_t chain,
                                     uint32_t chains, size_t length) {
  Resolver fromResolver(fromWindows);
  Resolver toResolver(toWindows);
  Cursor source(from, fromResolver);
  Cursor target(to, toResolver);
  if (!source.Start(frame, 1, from.control->skip)) return Outcome::kSourceFault;
  if (!target.Start(chain, chains, to.control->skip)) return Outcome::kTargetFault;
  while (length > 0) {
    size_t got;
    const uint8_t* piece = source.Next(length, &got);
    if (piece == nullptr) return Outcome::kSourceFault;
    if (!target.Write(piece, got)) return Outcome::kTargetFault;
    length -= got;
  }
  return Outcome::kCopied;
}

uint32_t Copy(const Batch& boundFrom, const Windows& fromWindows, uint32_t first,
              const Batch& boundTo, const Windows& toWindows) {
  const Batch from = boundFrom;
  Batch to = boundTo;
  Resolver fromResolver(fromWindows);
  Resolver toResolver(toWindows);
  const uint32_t count = from.Count();
  const uint32_t space = to.Count();
  const uint32_t fromSkip = from.control->skip;
  const uint32_t toSkip = to.control->skip;
  uint32_t chain = to.FilledChains();
  for (uint32_t frame = first; frame < count; frame += 1) {
    if (frame + kAhead < count) Prefetch<0>(from, fromResolver, frame + kAhead, fromSkip);
    if (chain + kAhead < space) Prefetch<1>(to, toResolver, chain + kAhead, toSkip);
    const uint32_t whole = from.lengths[frame];
    const uint32_t length = whole > fromSkip ? whole - fromSkip : 0;
    uint32_t chains = 0;
    const Fit fit = FindChains(to, chain, length, &chains);
    if (fit == Fit::kFull) return frame - first;
    if (fit == Fit::kOversized) {
      to.control->oversized += 1;
      from.results[frame] = static_cast<int32_t>(length);
      continue;
    }
    const uint8_t* in = OnePiece(from, fromResolver, frame, fromSkip, length);
    uint8_t* out = chains == 1 ? OnePiece(to, toResolver, chain, toSkip, length) : nullptr;
    if (in != nullptr && out != nullptr) {
      CopyBytes(out, in, length);
    } else {
      const Outcome outcome = CopyPieces(boundFrom, fromWindows, frame, boundTo, toWindows, chain,
                                         chains, length);
      if (outcome == Outcome::kTargetFault) return frame - first;
      if (outcome == Outcome::kSourceFault) {
        from.results[frame] = -EFAULT;
        continue;
      }
    }
    to.Deliver(length, chains);
    chain += chains;
    from.results[frame] = static_cast<int32_t>(length);
  }
  return count > first ? count - first : 0;
}

// (from, fromWindows, first, to, toWindows) -> frames disposed of.
napi_value CopyFrames(napi_env env, napi_callback_info info) {
  HotCall<5> call(env, info);
  const Batch* from = call.External<Batch>(0);
  Windows* fromWindows = call.External<Windows>(1);
  const Batch* to = call.External<Batch>(3);
  Windows* toWindows = call.External<Windows>(4);
  if (from == nullptr || fromWindows == nullptr || to == nullptr || toWindows == nullptr) {
    return call.Number(-EINVAL);
  }
  fromWindows->Refresh();
  toWindows->Refresh();
  return call.Number(Copy(*from, *fromWindows, call.Unsigned(2), *to, *toWindows));
}

}  // namespace

void InitGuestCopy(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "copyFrames", CopyFrames);
}
