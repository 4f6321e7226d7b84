/*
 * How fast can a packet socket take or give small frames? Sends the same 64-byte frame behind a
 * virtio-net header with sendmmsg, or receives what comes with recvmmsg, 64 frames a call, and prints
 * the rate as one JSON object. This is the most that a back-end over such a socket can reach.
 *
 * usage: packet-loop --ifname=NAME [--seconds=N] [--receive] [--plain]
 *        --plain: without the virtio-net header   (as root)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { HEADER_SIZE = 10, FRAME_SIZE = 64, BUFFER_SIZE = 2048, GROUP = 64, BUFFER_BYTES = 4 << 20 };

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

static int open_socket(const char *name, int header)
{
	int buffer = BUFFER_BYTES, promiscuous = if_nametoindex(name);
	int packets = socket(AF_PACKET, SOCK_RAW, 0);
	struct packet_mreq request = {.mr_ifindex = promiscuous, .mr_type = PACKET_MR_PROMISC};
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = promiscuous,
	};
	int on = 1;

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

/* One group of messages; when `receive`, into buffers of their own. */
static void prepare(struct mmsghdr *messages, struct iovec (*parts)[2], int header, int receive)
{
	/* To a station that is not there, IPv4: the host drops it. */
	static uint8_t frame[FRAME_SIZE] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0, 0x45};
	static uint8_t headers[GROUP][HEADER_SIZE], buffers[GROUP][BUFFER_SIZE];

	for (int i = 0; i < GROUP; i++) {
		struct iovec *part = parts[i];

		if (header)
			*part++ = (struct iovec){headers[i], HEADER_SIZE};
		*part++ = receive ? (struct iovec){buffers[i], BUFFER_SIZE}
				  : (struct iovec){frame, FRAME_SIZE};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = parts[i], .msg_iovlen = part - parts[i]}};
	}
}

int main(int argc, char **argv)
{
	static struct mmsghdr messages[GROUP];
	static struct iovec parts[GROUP][2];
	const char *name = NULL;
	double seconds = 2;
	int header = 1, receive = 0;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--seconds=", 10) == 0) {
			seconds = atof(argv[i] + 10);
		} else if (strncmp(argv[i], "--ifname=", 9) == 0) {
			name = argv[i] + 9;
		} else if (strcmp(argv[i], "--receive") == 0) {
			receive = 1;
		} else if (strcmp(argv[i], "--plain") == 0) {
			header = 0;
		} else {
			name = NULL;
			break;
		}
	}
	if (name == NULL) {
		fprintf(stderr, "usage: packet-loop --ifname=NAME [--seconds=N] [--receive] [--plain]\n");
		return 2;
	}

	int packets = open_socket(name, header);
	uint64_t frames = 0;
	double start = seconds_now(), elapsed;

	prepare(messages, parts, header, receive);
	do {
		int moved = receive ? recvmmsg(packets, messages, GROUP, MSG_DONTWAIT, NULL)
				    : sendmmsg(packets, messages, GROUP, 0);

		if (moved > 0)
			frames += moved;
		else if (errno != EAGAIN && errno != ENOBUFS)
			fail(receive ? "recvmmsg" : "sendmmsg");
		elapsed = seconds_now() - start;
	} while (elapsed < seconds);
	printf("{\"frames\": %llu, \"framesPerSecond\": %.0f}\n", (unsigned long long)frames,
	       frames / elapsed);
	return 0;
}
