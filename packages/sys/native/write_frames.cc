// Frames to a file that takes one with each write: tap and macvtap devices.
#include <unistd.h>

#include "addon.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "memory_guard.h"

namespace {

ssize_t WriteVector(int fd, const struct iovec* vector, int count) {
  ssize_t written;
  do {
    written = count == 1 ? write(fd, vector->iov_base, vector->iov_len)
                         : writev(fd, vector, count);
  } while (written < 0 && errno == EINTR);
  return written;
}

uint32_t Write(const Batch& batch, const Windows& windows, int fd, uint32_t first) {
  Resolver resolver(windows);
  const uint32_t count = batch.Count();
  struct iovec vector[kVectorLimit];
  for (uint32_t frame = first; frame < count; frame += 1) {
    uint64_t bytes = 0;
    const int pieces =
        AppendChain(batch, resolver, frame, batch.control->skip, vector, kVectorLimit, &bytes);
    if (pieces < 0) {
      batch.results[frame] = pieces;
      continue;
    }
    const ssize_t written = WriteVector(fd, vector, pieces);
    if (written >= 0) {
      batch.results[frame] = static_cast<int32_t>(written);
      continue;
    }
    if (errno == EAGAIN || (IsExhausted(errno) && frame > first)) return frame - first;
    batch.results[frame] = -errno;
    if (errno == EFAULT) memory_guard::Touch(vector, pieces);
  }
  return count > first ? count - first : 0;
}

// (batch, windows, fd, first) -> frames disposed of.
napi_value WriteFrames(napi_env env, napi_callback_info info) {
  HotCall<4> call(env, info);
  const Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  if (batch == nullptr || windows == nullptr) return call.Number(-EINVAL);
  windows->Refresh();
  return call.Number(Write(*batch, *windows, call.Int(2, -1), call.Unsigned(3)));
}

}  // namespace

void InitWriteFrames(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "writeFrames", WriteFrames);
}
