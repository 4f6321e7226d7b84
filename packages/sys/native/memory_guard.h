// Keeps the process alive when a file behind guest memory is truncated under us (hazard T20).
//
// Touching a page that its file no longer has raises SIGBUS, at whatever instruction that happens to
// be: compiled JavaScript, the interpreter, a copy loop here. The handler looks whether the address
// is in one of our mappings. If so it puts zero pages over that page and everything behind it, marks
// the mapping as broken, writes to the eventfd that its owner listens to, and returns: the instruction
// runs again and finds memory. Every other SIGBUS goes to whoever had the signal before us.
//
// The handler takes no lock and allocates nothing. It walks a list of ranges that only grows; a range
// says by a counter that a handler is looking at it, and `Unprotect` waits for that counter, so that
// no handler can map pages where something else has come to lie.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace memory_guard {

struct Range;

// Guards a mapping of whole pages of `page` bytes. Installs the handler at its first call.
Range* Protect(uintptr_t begin, size_t length, size_t page);
// To be called before the memory goes; the range is somebody else's afterwards.
void Unprotect(Range* range);

// Whether pages have gone missing.
bool IsBroken(const Range* range);
// The eventfd to write to when that happens; -1: none. It is not written to after this returns
// with another one.
void SetWaker(Range* range, int eventfd);
// The eventfd is about to be closed: whoever was to be signalled through it is gone.
void ForgetWaker(int eventfd);

// Reads a byte of every page of `vector`. A system call that meets a missing page answers EFAULT and
// raises nothing: this finds out, for the guard, whether that was the reason.
void Touch(const struct iovec* vector, int count);

}  // namespace memory_guard
