/*
 * How fast can a tap device take small frames? Writes the same 64-byte frame behind a virtio-net
 * header to a tap, one writev a frame, and prints the rate as one JSON object. This is the most that
 * a back-end which makes one system call a frame can reach.
 *
 * usage: tap-writev [--seconds=N] [--ifname=NAME]   (as root; makes the tap in this network namespace)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEADER_SIZE = 12, FRAME_SIZE = 64, FRAMES_PER_CLOCK_READ = 1024 };

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "tap-writev: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Opens (or makes) the tap with a virtio-net header in front of every frame, and sets it up. */
static int open_tap(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header_size = HEADER_SIZE;
	int tap = open("/dev/net/tun", O_RDWR);
	int any_socket = socket(AF_INET, SOCK_DGRAM, 0);

	if (tap < 0)
		fail("/dev/net/tun");
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(tap, TUNSETIFF, &request) < 0 || ioctl(tap, TUNSETVNETHDRSZ, &header_size) < 0)
		fail(name);
	if (any_socket < 0 || ioctl(any_socket, SIOCGIFFLAGS, &request) < 0)
		fail("interface flags");
	request.ifr_flags |= IFF_UP;
	if (ioctl(any_socket, SIOCSIFFLAGS, &request) < 0)
		fail("set up");
	close(any_socket);
	return tap;
}

int main(int argc, char **argv)
{
	const char *name = "writev0";
	double seconds = 2;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--seconds=", 10) == 0) {
			seconds = atof(argv[i] + 10);
		} else if (strncmp(argv[i], "--ifname=", 9) == 0) {
			name = argv[i] + 9;
		} else {
			fprintf(stderr, "usage: tap-writev [--seconds=N] [--ifname=NAME]\n");
			return 2;
		}
	}

	int tap = open_tap(name);
	uint8_t header[HEADER_SIZE] = {0};
	/* To a station that is not there, IPv4: the host drops it, as it does testpmd's frames. */
	uint8_t frame[FRAME_SIZE] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0, 0x45};
	struct iovec parts[2] = {{header, sizeof(header)}, {frame, sizeof(frame)}};
	uint64_t frames = 0;
	double start = seconds_now(), elapsed;

	do {
		for (int i = 0; i < FRAMES_PER_CLOCK_READ; i++)
			if (writev(tap, parts, 2) != HEADER_SIZE + FRAME_SIZE)
				fail("writev");
		frames += FRAMES_PER_CLOCK_READ;
		elapsed = seconds_now() - start;
	} while (elapsed < seconds);
	printf("{\"frames\": %llu, \"framesPerSecond\": %.0f}\n", (unsigned long long)frames,
	       frames / elapsed);
	return 0;
}
