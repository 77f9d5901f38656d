/*
 * delayline - a line with delay and loss between two network namespaces.
 *
 * Opens one TUN device in each of two namespaces and carries packets from
 * one to the other, each direction through its own first-in first-out queue.
 * A packet is stamped with the time at which it is due when it is read, and
 * written at that time; a lost packet is thrown away when it is read. For
 * kernels without netem, and for one behaviour on all kernels.
 *
 * Packets are IP packets without a link layer, so neither ARP nor neighbour
 * discovery adds round trips to what a test counts.
 *
 * The queue is fixed: when it is full, the newest packet is dropped and
 * counted, as on any line. A random generator with a seed decides about loss,
 * so a run with the same packets loses the same ones.
 *
 *     delayline [-d MS] [-l PERCENT] [-s SEED] [-c FIFO] NETNS DEV NETNS DEV
 *
 * Prints "ready" once both devices exist. Each line of the form
 * "set SERIAL MS LOSS_THERE LOSS_BACK" written into FIFO changes delay and
 * loss (there: from the first namespace to the second) and is answered by
 * "set SERIAL". SIGTERM or SIGINT ends it; it then prints what it did.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	PACKET_MAX = 2048,
	QUEUE_SLOTS = 4096,
	BURST = 64,
	DELAY_MAX_MS = 60000,
};

struct packet {
	int64_t due_ns;
	size_t size;
	unsigned char bytes[PACKET_MAX];
};

struct direction {
	int from;
	int to;
	unsigned loss_percent;
	size_t head;
	size_t used;
	unsigned long carried;
	unsigned long lost;
	unsigned long overflowed;
	struct packet *slots;
};

struct line {
	struct direction there;
	struct direction back;
	int64_t delay_ns;
	uint64_t random_state;
	int control;
	char text[256];
	size_t text_used;
};

static volatile sig_atomic_t stop_wanted;

static void on_stop(int signal_number)
{
	(void)signal_number;
	stop_wanted = 1;
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* xorshift64*: any generator will do that repeats itself for a seed. */
static unsigned random_percent(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (unsigned)(((x * 2685821657736338717U) >> 33) % 100);
}

static bool parse_number(const char **text, unsigned long max, unsigned long *value)
{
	const char *p = *text;
	while (*p == ' ')
		p++;
	if (*p < '0' || *p > '9')
		return false;
	unsigned long v = 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (unsigned long)(*p - '0');
		if (v > max)
			return false;
	}
	*text = p;
	*value = v;
	return true;
}

static unsigned long number_or_exit(const char *text, unsigned long max)
{
	const char *p = text;
	unsigned long value;
	if (!parse_number(&p, max, &value) || *p) {
		fprintf(stderr, "delayline: not a number up to %lu: %s\n", max, text);
		exit(2);
	}
	return value;
}

static int open_tun(const char *netns, const char *name)
{
	int ns = open(netns, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return -1;
	int entered = setns(ns, CLONE_NEWNET);
	close(ns);
	if (entered < 0)
		return -1;

	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Reads until the device is empty, or BURST packets, so that the other
 * direction gets its turn. Returns false when the device is gone. */
static bool direction_take(struct direction *d, int64_t delay_ns, uint64_t *random_state)
{
	for (int i = 0; i < BURST; i++) {
		static unsigned char spill[PACKET_MAX];
		bool full = d->used == QUEUE_SLOTS;
		struct packet *p = &d->slots[(d->head + d->used) % QUEUE_SLOTS];
		ssize_t n = read(d->from, full ? spill : p->bytes, PACKET_MAX);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (d->loss_percent && random_percent(random_state) < d->loss_percent) {
			d->lost++;
			continue;
		}
		if (full) {
			d->overflowed++;
			continue;
		}
		p->size = (size_t)n;
		p->due_ns = now_ns() + delay_ns;
		d->used++;
	}
	return true;
}

static void direction_give(struct direction *d)
{
	while (d->used && d->slots[d->head].due_ns <= now_ns()) {
		struct packet *p = &d->slots[d->head];
		/* A device that is down refuses the packet: then it is lost,
		 * as it would be on a cable that is pulled out. */
		if (write(d->to, p->bytes, p->size) == (ssize_t)p->size)
			d->carried++;
		else
			d->lost++;
		d->head = (d->head + 1) % QUEUE_SLOTS;
		d->used--;
	}
}

static void line_obey(struct line *line, const char *order)
{
	const char *p = order + 3;
	unsigned long serial, delay, there, back;
	if (strncmp(order, "set", 3) != 0 || !parse_number(&p, 1000000000, &serial) ||
		!parse_number(&p, DELAY_MAX_MS, &delay) || !parse_number(&p, 100, &there) ||
		!parse_number(&p, 100, &back) || *p) {
		fprintf(stderr, "delayline: order not understood: %s\n", order);
		return;
	}
	line->delay_ns = (int64_t)delay * 1000000;
	line->there.loss_percent = (unsigned)there;
	line->back.loss_percent = (unsigned)back;
	printf("set %lu\n", serial);
}

static void line_control(struct line *line)
{
	size_t room = sizeof(line->text) - 1 - line->text_used;
	ssize_t n = read(line->control, line->text + line->text_used, room);
	if (n <= 0)
		return;
	line->text_used += (size_t)n;
	line->text[line->text_used] = '\0';

	char *start = line->text;
	for (char *end; (end = strchr(start, '\n')); start = end + 1) {
		*end = '\0';
		line_obey(line, start);
	}
	line->text_used = strlen(start);
	if (line->text_used == sizeof(line->text) - 1)
		line->text_used = 0;
	memmove(line->text, start, line->text_used);
}

static int64_t line_next_due(const struct line *line)
{
	int64_t due = INT64_MAX;
	if (line->there.used)
		due = line->there.slots[line->there.head].due_ns;
	if (line->back.used && line->back.slots[line->back.head].due_ns < due)
		due = line->back.slots[line->back.head].due_ns;
	return due;
}

static int line_wait(const struct line *line, struct pollfd *fds, const sigset_t *mask)
{
	int64_t due = line_next_due(line);
	if (due == INT64_MAX)
		return ppoll(fds, 3, NULL, mask);
	int64_t left = due - now_ns();
	if (left < 0)
		left = 0;
	struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
	return ppoll(fds, 3, &timeout, mask);
}

static void line_run(struct line *line, const sigset_t *mask)
{
	struct pollfd fds[3] = {
		{.fd = line->there.from, .events = POLLIN},
		{.fd = line->back.from, .events = POLLIN},
		{.fd = line->control, .events = POLLIN},
	};
	while (!stop_wanted) {
		int n = line_wait(line, fds, mask);
		if (n < 0 && errno != EINTR)
			return;
		direction_give(&line->there);
		direction_give(&line->back);
		if (n <= 0)
			continue;
		if ((fds[0].revents | fds[1].revents) & (POLLERR | POLLNVAL))
			return;
		if (fds[0].revents &&
			!direction_take(&line->there, line->delay_ns, &line->random_state))
			return;
		if (fds[1].revents &&
			!direction_take(&line->back, line->delay_ns, &line->random_state))
			return;
		if (fds[2].revents)
			line_control(line);
	}
}

static void catch_stop(sigset_t *mask_while_waiting)
{
	struct sigaction action = {.sa_handler = on_stop};
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, mask_while_waiting);
	sigdelset(mask_while_waiting, SIGTERM);
	sigdelset(mask_while_waiting, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

/* On a busy machine a process waits for its turn for longer than the line is
 * allowed to err. Where neither is permitted, the line still works. */
static void be_prompt(void)
{
	struct sched_param first = {.sched_priority = 1};

	/* The default slack of 50 us would add up over a path. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
	if (sched_setscheduler(0, SCHED_RR, &first) < 0)
		setpriority(PRIO_PROCESS, 0, -20);
}

static void line_options(struct line *line, int argc, char **argv)
{
	unsigned long value;
	for (int c; (c = getopt(argc, argv, "d:l:s:c:")) != -1;) {
		switch (c) {
		case 'd':
			value = number_or_exit(optarg, DELAY_MAX_MS);
			line->delay_ns = (int64_t)value * 1000000;
			break;
		case 'l':
			value = number_or_exit(optarg, 100);
			line->there.loss_percent = (unsigned)value;
			line->back.loss_percent = (unsigned)value;
			break;
		case 's':
			value = number_or_exit(optarg, 1000000000);
			line->random_state += value;
			break;
		case 'c':
			/* Open for writing too, so that it never ends. */
			line->control = open(optarg, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			if (line->control < 0) {
				perror(optarg);
				exit(1);
			}
			break;
		default:
			exit(2);
		}
	}
	if (argc - optind != 4) {
		fprintf(stderr, "usage: delayline [-d MS] [-l PERCENT] "
				"[-s SEED] [-c FIFO] NETNS DEV NETNS DEV\n");
		exit(2);
	}
}

static void direction_report(const char *name, const struct direction *d)
{
	printf("%s: carried %lu, lost %lu, overflowed %lu\n", name, d->carried, d->lost,
		d->overflowed);
}

int main(int argc, char **argv)
{
	static struct line line = {.control = -1, .random_state = 0x9e3779b97f4a7c15U};
	static struct packet there[QUEUE_SLOTS], back[QUEUE_SLOTS];
	sigset_t mask;

	line_options(&line, argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	catch_stop(&mask);
	be_prompt();

	int first = open_tun(argv[optind], argv[optind + 1]);
	if (first < 0) {
		perror(argv[optind]);
		return 1;
	}
	int second = open_tun(argv[optind + 2], argv[optind + 3]);
	if (second < 0) {
		perror(argv[optind + 2]);
		return 1;
	}
	line.there.from = line.back.to = first;
	line.there.to = line.back.from = second;
	line.there.slots = there;
	line.back.slots = back;

	puts("ready");
	line_run(&line, &mask);
	direction_report("there", &line.there);
	direction_report("back", &line.back);
	return 0;
}
