#include "memory_guard.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace memory_guard {

struct Range {
  // What the handler may look at while `active`; written before that is set.
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<size_t> page{0};
  std::atomic<bool> active{false};

  std::atomic<bool> broken{false};
  std::atomic<int> waker{-1};
  // Handlers that look at this range now.
  std::atomic<int> visitors{0};
  // Taken by a mapping; only under the registry's lock.
  bool taken = false;
  Range* next = nullptr;
};

namespace {

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

// Never shortened, never freed: a handler may be anywhere in it.
std::atomic<Range*> ranges{nullptr};
struct sigaction previous;

// For those who add and remove ranges, never for the handler.
std::mutex& RegistryLock() {
  static std::mutex* lock = new std::mutex;
  return *lock;
}

// Marks a range as looked at. The counter comes before the look and `Unprotect` does it the other
// way round, so one of the two sees the other.
class Visit {
 public:
  explicit Visit(Range* range) : range_(range) { range_->visitors.fetch_add(1); }
  ~Visit() { range_->visitors.fetch_sub(1); }

 private:
  Range* range_;
};

void AwaitVisitors(const Range* range) {
  while (range->visitors.load() != 0) sched_yield();
}

// A file that lost this page has lost those behind it too, and one call for all of them keeps the
// number of the kernel's areas bounded.
bool Patch(Range* range, uintptr_t address) {
  const size_t page = range->page.load();
  const uintptr_t from = address - address % page;
  const uintptr_t end = range->end.load();
  void* patched =
      mmap(reinterpret_cast<void*>(from), end - from, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (patched == MAP_FAILED) return false;
  range->broken.store(true);
  const int waker = range->waker.load();
  const uint64_t one = 1;
  if (waker >= 0 && write(waker, &one, sizeof one) < 0) return true;  // it is raised already
  return true;
}

bool Repair(uintptr_t address) {
  for (Range* range = ranges.load(); range != nullptr; range = range->next) {
    Visit visit(range);
    if (!range->active.load()) continue;
    if (address < range->begin.load() || address >= range->end.load()) continue;
    return Patch(range, address);
  }
  return false;
}

// As if we had never been there.
void PassOn(int signal, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
    return;
  }
  const bool raisedByAccess = info->si_code == BUS_ADRERR || info->si_code == BUS_ADRALN ||
                              info->si_code == BUS_MCEERR_AR;
  if (previous.sa_handler == SIG_IGN && !raisedByAccess) return;
  if (previous.sa_handler != SIG_IGN && previous.sa_handler != SIG_DFL) {
    previous.sa_handler(signal);
    return;
  }
  struct sigaction byDefault = {};
  byDefault.sa_handler = SIG_DFL;
  sigaction(signal, &byDefault, nullptr);
  // An access raises it once more when this returns, and the core dump shows where.
  if (!raisedByAccess) raise(signal);
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool missing = info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR ||
                       info->si_code == BUS_MCEERR_AO;
  if (!missing || !Repair(reinterpret_cast<uintptr_t>(info->si_addr))) {
    PassOn(signal, info, context);
  }
  errno = error;
}

void Install() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigaction(SIGBUS, nullptr, &previous);
  action.sa_mask = previous.sa_mask;
  sigaction(SIGBUS, &action, nullptr);
}

Range* TakeRange() {
  for (Range* range = ranges.load(); range != nullptr; range = range->next) {
    if (!range->taken) return range;
  }
  Range* range = new Range;
  range->next = ranges.load();
  ranges.store(range);
  return range;
}

}  // namespace

Range* Protect(uintptr_t begin, size_t length, size_t page) {
  std::lock_guard<std::mutex> guard(RegistryLock());
  static const bool installed = (Install(), true);
  static_cast<void>(installed);
  Range* range = TakeRange();
  range->taken = true;
  range->begin.store(begin);
  range->end.store(begin + length);
  range->page.store(page);
  range->broken.store(false);
  range->waker.store(-1);
  range->active.store(true);
  return range;
}

void Unprotect(Range* range) {
  std::lock_guard<std::mutex> guard(RegistryLock());
  range->active.store(false);
  AwaitVisitors(range);
  range->taken = false;
}

bool IsBroken(const Range* range) { return range->broken.load(); }

void SetWaker(Range* range, int eventfd) {
  range->waker.store(eventfd);
  AwaitVisitors(range);
}

void ForgetWaker(int eventfd) {
  for (Range* range = ranges.load(); range != nullptr; range = range->next) {
    int expected = eventfd;
    if (range->waker.compare_exchange_strong(expected, -1)) AwaitVisitors(range);
  }
}

void Touch(const struct iovec* vector, int count) {
  const uintptr_t page = sysconf(_SC_PAGESIZE);
  for (int k = 0; k < count; k += 1) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(vector[k].iov_base);
    const uintptr_t end = begin + vector[k].iov_len;
    for (uintptr_t at = begin; at < end; at = at - at % page + page) {
      static_cast<void>(*reinterpret_cast<const volatile uint8_t*>(at));
    }
  }
}

}  // namespace memory_guard
