/*
 * A guest that only receives, at the least cost: looks at the receive queue every half millisecond and
 * makes every buffer that the device has used available again. Every entry of the available ring has
 * been prepared and the device uses buffers in order, so that this takes one store; on a packed ring
 * it reads and writes each descriptor. Prints the rate as one JSON object.
 *
 * usage: ring-drain --guest=MEMORY,KICK,SIZE,ENTRIES,AVAILABLE,USED[,DESCRIPTORS] [--seconds=N] [--core=N]
 * MEMORY and KICK are file descriptors, SIZE bytes of memory, ENTRIES the queue's; AVAILABLE and USED
 * are where in memory the two rings stand. With DESCRIPTORS the ring is packed and stands there, and
 * USED is the device's event suppression. The first second does not count.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "packed-ring.h"

enum { WARM_UP_SECONDS = 1, NO_NOTIFY = 1, PAUSE_NANOSECONDS = 500000 };

struct ring {
	_Atomic uint16_t flags, index;
};

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "ring-drain: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Makes what the device has used available again; returns how much that was. */
static unsigned refill(struct ring *available, const struct ring *used, unsigned entries)
{
	static uint16_t seen;
	uint16_t index = used->index;
	unsigned count = (uint16_t)(index - seen);

	seen = index;
	available->index = (uint16_t)(index + entries);
	return count;
}

static unsigned refill_packed(struct packed_ring *ring)
{
	unsigned count = 0;

	for (; count < ring->size && packed_take_used(ring); count++)
		packed_offer(ring);
	return count;
}

int main(int argc, char **argv)
{
	unsigned long size = 0, entries, available_at, used_at, descriptors_at;
	int arguments = 0;
	int memory, kick, core = 0;
	double seconds = 2;

	for (int i = 1; i < argc; i++) {
		int read = sscanf(argv[i], "--guest=%d,%d,%lu,%lu,%lu,%lu,%lu", &memory, &kick, &size,
				  &entries, &available_at, &used_at, &descriptors_at);

		if (read == 6 || read == 7) {
			arguments = read;
			continue;
		}
		if (sscanf(argv[i], "--core=%d", &core) != 1 && sscanf(argv[i], "--seconds=%lf", &seconds) != 1)
			size = 0;
	}
	if (size == 0) {
		fprintf(stderr, "usage: ring-drain --guest=… [--seconds=N] [--core=N]\n");
		return 2;
	}

	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (base == MAP_FAILED)
		fail("mmap");
	struct ring *available = (struct ring *)(base + available_at);
	struct ring *used = (struct ring *)(base + used_at);
	int packed = arguments == 7;
	struct packed_ring ring =
		packed_ring(base + (packed ? descriptors_at : 0), entries, entries, 1);
	struct packed_event *event = (struct packed_event *)(base + used_at);
	struct timespec pause = {.tv_nsec = PAUSE_NANOSECONDS};
	double start = seconds_now() + WARM_UP_SECONDS, now;
	uint64_t frames = 0, one = 1;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof(set), &set);
	prctl(PR_SET_TIMERSLACK, 1);
	do {
		unsigned count = packed ? refill_packed(&ring) : refill(available, used, entries);

		now = seconds_now();
		if (now >= start)
			frames += count;
		atomic_thread_fence(memory_order_seq_cst);
		uint16_t flags = packed ? event->flags : used->flags;

		if ((flags & NO_NOTIFY) == 0 && write(kick, &one, sizeof(one)) < 0)
			fail("kick");
		nanosleep(&pause, NULL);
	} while (now < start + seconds);
	printf("{\"frames\": %llu, \"framesPerSecond\": %.0f}\n", (unsigned long long)frames,
	       frames / (now - start));
	return 0;
}
