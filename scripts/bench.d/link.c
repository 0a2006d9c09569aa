// A slow link: the network device NAME, on which every packet is held for MICROSECONDS and then given back to the kernel with
// its two addresses swapped. So 192.0.2.2, seen through a device that has 192.0.2.1, is this machine itself at a distance,
// with all that TCP makes of it: the handshake, slow start, windows. Swapping changes no checksum, since those are sums.
//
//   link NAME MICROSECONDS     prints a line when the device is there; ends when its standard input does
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// More than all windows of TCP together hold; when it is full, the kernel's own queue fills, and then it drops packets.
#define PACKETS 65536
#define BYTES 1536

static struct { int64_t due; ssize_t size; unsigned char bytes[BYTES]; } queue[PACKETS];

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int device(const char *name) {
  struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) err(1, "/dev/net/tun");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(tun, TUNSETIFF, &request) < 0) err(1, "%s", name);
  return tun;
}

int main(int argc, char **argv) {
  if (argc != 3) errx(2, "usage: link NAME MICROSECONDS");
  int64_t delay = atoll(argv[2]) * 1000;
  int tun = device(argv[1]);
  puts("ready");
  fflush(stdout);

  // One queue for both directions: all packets wait equally long.
  for (unsigned first = 0, end = 0;;) {
    struct pollfd ready[] = { { .fd = 0, .events = POLLIN }, { .fd = tun, .events = end - first < PACKETS ? POLLIN : 0 } };
    int64_t wait = first == end ? 0 : queue[first % PACKETS].due - now();
    if (wait < 0) wait = 0;
    struct timespec timeout = { wait / 1000000000, wait % 1000000000 };
    if (ppoll(ready, 2, first == end ? NULL : &timeout, NULL) < 0 && errno != EINTR) err(1, "poll");
    if (ready[0].revents) return 0;

    while (end - first < PACKETS) {
      unsigned char *bytes = queue[end % PACKETS].bytes, source[4];
      ssize_t size = read(tun, bytes, BYTES);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (size < 0) err(1, "read");
      // Only IPv4 goes over it.
      if (size < 20 || bytes[0] >> 4 != 4) continue;
      memcpy(source, bytes + 12, 4);
      memcpy(bytes + 12, bytes + 16, 4);
      memcpy(bytes + 16, source, 4);
      queue[end % PACKETS].size = size;
      queue[end++ % PACKETS].due = now() + delay;
    }
    for (int64_t time = now(); first != end && queue[first % PACKETS].due <= time; first++) {
      // A packet that the kernel doesn't take is lost, as packets are.
      if (write(tun, queue[first % PACKETS].bytes, queue[first % PACKETS].size) < 0) continue;
    }
  }
}
