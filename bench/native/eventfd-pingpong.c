/*
 * How long does a kick take to become a call? Prints round trips in nanoseconds as one JSON object.
 *
 * Alone it measures the least that is possible: two threads, each waiting in epoll for an eventfd,
 * wake one another in turn. With --guest the same client thread is the driver of a NIC that loops
 * frames back: it inherits guest memory, the transmit queue's kick and the receive queue's call, and
 * before each kick makes one more receive buffer and one more frame available. Every entry of both
 * rings has been prepared, so that this takes two stores; on packed rings it writes both descriptors.
 *
 * usage: eventfd-pingpong [--seconds=N] [--cores=SERVER,CLIENT]
 *                         [--guest=MEMORY,KICK,CALL,SIZE,TRANSMIT,RECEIVE[,ENTRIES,OFFERED]]
 * MEMORY, KICK and CALL are file descriptors, SIZE bytes of memory; TRANSMIT and RECEIVE are where in
 * it the two available rings' indices stand. With ENTRIES they are where two packed rings with so many
 * entries stand, and OFFERED is how many receive buffers are available already.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "packed-ring.h"

enum { MOST_SAMPLES = 1 << 24 };

static int kick, call;
static int server_core = 0, client_core = 1;
/* The available rings' indices, with --guest. */
static _Atomic uint16_t *transmit, *receive;
/* The rings themselves, where they are packed: `entries` is set. */
static struct packed_ring packed_transmit, packed_receive;

static uint64_t nanoseconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "eventfd-pingpong: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* On a machine with fewer cores the thread stays where the scheduler puts it. */
static void stay_on(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int watch(int event)
{
	struct epoll_event interest = {.events = EPOLLIN};
	int poll = epoll_create1(EPOLL_CLOEXEC);

	if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, event, &interest) < 0)
		fail("epoll");
	return poll;
}

/* Waits until the eventfd is readable, then reads it down to zero. */
static void await(int poll, int event)
{
	struct epoll_event ready;
	uint64_t count;

	while (epoll_wait(poll, &ready, 1, -1) != 1)
		if (errno != EINTR)
			fail("epoll_wait");
	if (read(event, &count, sizeof(count)) != sizeof(count))
		fail("read");
}

static void notify(int event)
{
	uint64_t one = 1;

	if (write(event, &one, sizeof(one)) != sizeof(one))
		fail("write");
}

/* The device: answers every kick with a call. Ends with the process. */
static void *serve(void *unused)
{
	int poll = watch(kick);

	(void)unused;
	stay_on(server_core);
	for (;;) {
		await(poll, kick);
		notify(call);
	}
	return NULL;
}

static void be_guest(const char *arguments)
{
	unsigned long size, transmit_at, receive_at;
	unsigned entries, offered;
	int memory;
	int read = sscanf(arguments, "%d,%d,%d,%lu,%lu,%lu,%u,%u", &memory, &kick, &call, &size,
			  &transmit_at, &receive_at, &entries, &offered);

	if (read != 6 && read != 8) {
		fprintf(stderr, "eventfd-pingpong: --guest=%s\n", arguments);
		exit(2);
	}
	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);

	if (base == MAP_FAILED)
		fail("mmap");
	transmit = (_Atomic uint16_t *)(base + transmit_at);
	receive = (_Atomic uint16_t *)(base + receive_at);
	if (read == 8) {
		packed_transmit = packed_ring(base + transmit_at, entries, 0, 0);
		packed_receive = packed_ring(base + receive_at, entries, offered, 1);
	}
}

static int compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	double seconds = 2;
	pthread_t server;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--seconds=", 10) == 0) {
			seconds = atof(argv[i] + 10);
		} else if (strncmp(argv[i], "--guest=", 8) == 0) {
			be_guest(argv[i] + 8);
		} else if (sscanf(argv[i], "--cores=%d,%d", &server_core, &client_core) != 2) {
			fprintf(stderr, "usage: eventfd-pingpong [--seconds=N] [--cores=SERVER,CLIENT]\n");
			return 2;
		}
	}
	uint32_t *samples = malloc(MOST_SAMPLES * sizeof(*samples));
	if (!samples)
		fail("set-up");
	if (!transmit) {
		kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (kick < 0 || call < 0)
			fail("eventfd");
		if ((errno = pthread_create(&server, NULL, serve, NULL)) != 0)
			fail("thread");
	}

	stay_on(client_core);
	int poll = watch(call);
	uint64_t end = nanoseconds_now() + (uint64_t)(seconds * 1e9), before, after;
	size_t count = 0;

	do {
		before = nanoseconds_now();
		if (packed_transmit.entries) {
			packed_offer(&packed_receive);
			packed_offer(&packed_transmit);
		} else if (transmit) {
			*receive += 1;
			*transmit += 1;
		}
		notify(kick);
		await(poll, call);
		after = nanoseconds_now();
		samples[count++] = after - before < UINT32_MAX ? after - before : UINT32_MAX;
	} while (after < end && count < MOST_SAMPLES);

	qsort(samples, count, sizeof(*samples), compare);
	printf("{\"roundTrips\": %zu, \"p50\": %u, \"p99\": %u, \"p999\": %u}\n", count,
	       samples[count / 2], samples[count * 99 / 100], samples[count * 999 / 1000]);
	return 0;
}
