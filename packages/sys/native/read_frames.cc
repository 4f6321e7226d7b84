// Frames from a file that gives one with each read: tap and macvtap devices.
#include "addon.h"
#include "cursor.h"
#include "frame_vector.h"
#include "hot_call.h"
#include "memory_guard.h"
#include "piece_list.h"

namespace {

// Where a frame is kept that was read and then did not fit: what has been read cannot be put back.
// The TypeScript side owns it, one for each file.
struct Keep {
  uint8_t* bytes;
  size_t capacity;
  // Bytes of the frame that waits; 0 when none does.
  uint32_t* length;
  // For how large a frame chains are lined up before a read. A larger one costs a copy.
  uint32_t* expected;
};

constexpr uint32_t kSmallestExpectation = 2048;

class Reader {
 public:
  Reader(Batch& batch, const Windows& windows, Keep keep, uint32_t largestFrame)
      : batch_(batch), resolver_(windows), keep_(keep), largestFrame_(largestFrame) {}

  // Fills chains with frames. Returns the chains filled altogether, or a negative errno when the
  // file failed before it gave anything.
  int64_t Run(int fd) {
    chain_ = batch_.FilledChains();
    // Frames that are too large fill no chain: the reads are counted too, so that they end.
    for (uint32_t reads = 2 * batch_.capacity; reads > 0; reads -= 1) {
      if (*keep_.length > 0 ? !DeliverKept() : !ReadOne(fd)) break;
    }
    if (error_ != 0 && error_ != EAGAIN && !progress_) return -error_;
    return chain_;
  }

 private:
  // False: it has to wait, or memory is not accessible.
  bool DeliverKept() {
    const uint32_t length = *keep_.length;
    uint32_t chains = 0;
    const Fit fit = FindChains(batch_, chain_, length, &chains);
    if (fit == Fit::kFull) return false;
    if (fit == Fit::kOversized) {
      batch_.control->oversized += 1;
    } else {
      Cursor cursor(batch_, resolver_);
      if (!cursor.Start(chain_, chains, batch_.control->skip)) return false;
      if (!cursor.Write(keep_.bytes, length)) return false;
      Deliver(length, chains);
    }
    *keep_.length = 0;
    progress_ = true;
    return true;
  }

  // False: nothing more now.
  bool ReadOne(int fd) {
    if (chain_ >= batch_.Count()) return false;
    const uint32_t left = batch_.Count() - chain_;
    const uint32_t perFrame = batch_.ChainsPerFrame();
    if (!space_.Take(batch_, resolver_, chain_, perFrame < left ? perFrame : left, Expected())) {
      return false;
    }
    const size_t room = space_.room < keep_.capacity ? space_.room : keep_.capacity;
    space_.vector[space_.vectors] = {keep_.bytes + room, keep_.capacity - room};
    ssize_t length;
    do {
      length = readv(fd, space_.vector, space_.vectors + 1);
    } while (length < 0 && errno == EINTR);
    if (length <= 0) {
      error_ = length == 0 ? ESHUTDOWN : errno;
      if (error_ == EFAULT) memory_guard::Touch(space_.vector, space_.vectors);
      return false;
    }
    progress_ = true;
    Expect(length);
    if (static_cast<uint64_t>(length) <= space_.room) {
      Deliver(static_cast<uint32_t>(length), space_.ChainsFor(length));
    } else if (batch_.Outgrown(chain_, space_.chains)) {
      batch_.control->oversized += 1;
    } else {
      // Its end is in the keep already, behind where its beginning belongs.
      const PieceList beginning = {space_.vector, space_.vectors};
      beginning.Read(0, keep_.bytes, room);
      *keep_.length = static_cast<uint32_t>(length);
    }
    return true;
  }

  void Deliver(uint32_t length, uint32_t chains) {
    batch_.Deliver(length, chains);
    chain_ += chains;
  }

  uint32_t Expected() const {
    return *keep_.expected > kSmallestExpectation ? *keep_.expected : kSmallestExpectation;
  }

  // Lining up chains that stay empty costs time with each read. So where frames are small few are
  // lined up; after a large frame enough for any, and then fewer from read to read.
  void Expect(size_t length) {
    const uint32_t expected = Expected();
    *keep_.expected = length > expected ? largestFrame_ : expected - (expected >> 5);
    if (length > *keep_.expected) *keep_.expected = expected;
  }

  Batch& batch_;
  Resolver resolver_;
  const Keep keep_;
  const uint32_t largestFrame_;
  FrameSpace space_;
  uint32_t chain_ = 0;
  int error_ = 0;
  bool progress_ = false;
};

// (batch, windows, fd, kept bytes, [kept length, expected length], largestFrame) -> chains filled.
napi_value ReadFrames(napi_env env, napi_callback_info info) {
  HotCall<6> call(env, info);
  Batch* batch = call.External<Batch>(0);
  Windows* windows = call.External<Windows>(1);
  Keep keep;
  size_t words;
  keep.bytes = call.Elements<uint8_t>(3, napi_uint8_array, &keep.capacity);
  keep.length = call.Elements<uint32_t>(4, napi_uint32_array, &words);
  if (batch == nullptr || windows == nullptr || keep.bytes == nullptr || words < 2 ||
      *keep.length > keep.capacity) {
    return call.Number(-EINVAL);
  }
  keep.expected = keep.length + 1;
  windows->Refresh();
  return call.Number(Reader(*batch, *windows, keep, call.Unsigned(5)).Run(call.Int(2, -1)));
}

}  // namespace

void InitReadFrames(Napi::Env env, Napi::Object exports) {
  ExportHot(env, exports, "readFrames", ReadFrames);
}
