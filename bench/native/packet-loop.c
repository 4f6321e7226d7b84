/*
 * How fast can a packet socket take or give small frames? Sends the same 64-byte frame behind a
 * virtio-net header with sendmmsg, or receives what comes with recvmmsg, 64 frames a call, and prints
 * the rate as one JSON object. This is the most that a back-end over such a socket can reach.
 *
 * The frames that it sends are written by another thread, which stays on a processor of its own: as
 * a guest's are, they come out of that one's cache.
 *
 * usage: packet-loop --ifname=NAME [--seconds=N] [--receive] [--writer=CORE]   (as root)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum {
	HEADER_SIZE = 10,
	FRAME_SIZE = 64,
	BUFFER_SIZE = 2048,
	BUFFERS = 256,
	GROUP = 64,
	BURST = 32,
	SOCKET_BUFFER = 4 << 20
};

/* Frames with their headers, as the writer leaves them, and how many were ever written and sent. */
static uint8_t buffers[BUFFERS][BUFFER_SIZE];
static _Alignas(64) _Atomic uint32_t written;
static _Alignas(64) _Atomic uint32_t sent;
static int writer_core = -1;

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "packet-loop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_socket(const char *name)
{
	int buffer = SOCKET_BUFFER, promiscuous = if_nametoindex(name);
	int packets = socket(AF_PACKET, SOCK_RAW, 0);
	struct packet_mreq request = {.mr_ifindex = promiscuous, .mr_type = PACKET_MR_PROMISC};
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = promiscuous,
	};
	int on = 1, header = 1;

	if (packets < 0)
		fail("socket");
	if (setsockopt(packets, SOL_PACKET, PACKET_VNET_HDR, &header, sizeof(header)) < 0 ||
	    setsockopt(packets, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof(request)) < 0 ||
	    setsockopt(packets, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
	    setsockopt(packets, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0)
		fail("socket options");
	if (bind(packets, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail(name);
	return packets;
}

static void write_frame(uint8_t *buffer)
{
	/* To a station that is not there, IPv4: the host drops it. */
	static const uint8_t frame[FRAME_SIZE] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0, 0x45};

	memset(buffer, 0, HEADER_SIZE);
	memcpy(buffer + HEADER_SIZE, frame, FRAME_SIZE);
}

/* Keeps all buffers full. Ends with the process. */
static void *write_frames(void *unused)
{
	cpu_set_t set;

	(void)unused;
	CPU_ZERO(&set);
	CPU_SET(writer_core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	for (uint32_t next = 0;;) {
		uint32_t free = BUFFERS - (next - atomic_load_explicit(&sent, memory_order_acquire));

		if (free < BURST)
			continue;
		for (int i = 0; i < BURST; i++, next++)
			write_frame(buffers[next % BUFFERS]);
		atomic_store_explicit(&written, next, memory_order_release);
	}
	return NULL;
}

/* A message for each buffer. */
static void prepare(struct mmsghdr *messages, struct iovec *parts, int receive)
{
	for (int i = 0; i < BUFFERS; i++) {
		write_frame(buffers[i]);
		parts[i] = (struct iovec){buffers[i], receive ? BUFFER_SIZE : HEADER_SIZE + FRAME_SIZE};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
}

/* Sends what has been written, a group at the most and not past the last buffer. */
static int send_some(int packets, struct mmsghdr *messages)
{
	uint32_t from = sent, first = from % BUFFERS, ready = GROUP;

	if (writer_core >= 0)
		ready = atomic_load_explicit(&written, memory_order_acquire) - from;
	if (ready > GROUP)
		ready = GROUP;
	if (ready > BUFFERS - first)
		ready = BUFFERS - first;
	if (ready == 0)
		return 0;
	int moved = sendmmsg(packets, messages + first, ready, 0);

	if (moved > 0)
		atomic_store_explicit(&sent, from + moved, memory_order_release);
	return moved;
}

int main(int argc, char **argv)
{
	static struct mmsghdr messages[BUFFERS];
	static struct iovec parts[BUFFERS];
	pthread_t writer;
	const char *name = NULL;
	double seconds = 2;
	int receive = 0;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--seconds=", 10) == 0) {
			seconds = atof(argv[i] + 10);
		} else if (strncmp(argv[i], "--ifname=", 9) == 0) {
			name = argv[i] + 9;
		} else if (strcmp(argv[i], "--receive") == 0) {
			receive = 1;
		} else if (sscanf(argv[i], "--writer=%d", &writer_core) != 1) {
			name = NULL;
			break;
		}
	}
	if (name == NULL) {
		fprintf(stderr, "usage: packet-loop --ifname=NAME [--seconds=N] [--receive] [--writer=CORE]\n");
		return 2;
	}

	int packets = open_socket(name);
	uint64_t frames = 0;
	double start = seconds_now(), elapsed;

	prepare(messages, parts, receive);
	if (writer_core >= 0 && pthread_create(&writer, NULL, write_frames, NULL) != 0)
		fail("thread");
	do {
		int moved = receive ? recvmmsg(packets, messages, GROUP, MSG_DONTWAIT, NULL)
				    : send_some(packets, messages);

		if (moved > 0)
			frames += moved;
		else if (moved < 0 && errno != EAGAIN && errno != ENOBUFS)
			fail(receive ? "recvmmsg" : "sendmmsg");
		elapsed = seconds_now() - start;
	} while (elapsed < seconds);
	printf("{\"frames\": %llu, \"framesPerSecond\": %.0f}\n", (unsigned long long)frames,
	       frames / elapsed);
	return 0;
}
