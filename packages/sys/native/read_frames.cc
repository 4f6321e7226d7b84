// Frames from a file that gives one with each read: tap and macvtap devices.
#include "addon.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "memory_guard.h"

uint8_t frame_sink[kSinkBytes];

namespace {

// Fills chains with frames. Returns the chains filled altogether, or a negative errno when the file
// failed before it gave anything.
int64_t Read(Batch& batch, const Windows& windows, int fd, uint64_t largestFrame) {
  Resolver resolver(windows);
  const uint32_t count = batch.Count();
  const uint32_t perFrame = batch.ChainsPerFrame();
  uint32_t chain = batch.FilledChains();
  FrameSpace space;
  int error = 0;
  bool progress = false;
  // Frames that are too large fill no chain: the reads are counted too, so that they end.
  for (uint32_t reads = 2 * batch.capacity; reads > 0 && chain < count; reads -= 1) {
    const uint32_t left = count - chain;
    if (!space.Take(batch, resolver, chain, perFrame < left ? perFrame : left, largestFrame)) break;
    const bool mayNotFit = space.room < largestFrame && space.chains < perFrame;
    if (mayNotFit && batch.control->frameCount > 0) break;
    ssize_t length;
    do {
      length = readv(fd, space.vector, space.WithSink());
    } while (length < 0 && errno == EINTR);
    if (length <= 0) {
      error = length == 0 ? ESHUTDOWN : errno;
      if (error == EFAULT) memory_guard::Touch(space.vector, space.vectors);
      break;
    }
    progress = true;
    if (static_cast<uint64_t>(length) > space.room) {
      batch.control->oversized += 1;
      continue;
    }
    const uint32_t chains = space.ChainsFor(length);
    batch.Deliver(static_cast<uint32_t>(length), chains);
    chain += chains;
  }
  if (error != 0 && error != EAGAIN && !progress) return -error;
  return chain;
}

// (batch, windows, fd, largestFrame) -> chains filled.
napi_value ReadFrames(napi_env env, napi_callback_info info) {
  HotCall<4> call(env, info);
  Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  if (batch == nullptr || windows == nullptr) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(Read(*batch, *windows, call.Int(2, -1), call.Unsigned(3)));
}

}  // namespace

void InitReadFrames(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "readFrames", ReadFrames);
}
