#include "natpunch/os/netwatch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

const struct sandbox_call netwatch_calls[] = {
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_NETLINK, 2, SANDBOX_WHOLE, NETLINK_ROUTE),
	SANDBOX_CALL(timerfd_create),
	SANDBOX_CALL(timerfd_settime),
#ifdef __NR_timerfd_settime64
	SANDBOX_CALL(timerfd_settime64),
#endif
	SANDBOX_END,
};

#define FAR_AWAY_SECONDS (86400L * 365 * 10)

/*
 * A timer on the wall clock that never fires, but is cancelled when that clock jumps, as it does
 * when the machine wakes up (timerfd_settime(2), TFD_TIMER_CANCEL_ON_SET).
 */
static void arm_clock(int fd)
{
	struct timespec now;
	struct itimerspec far_away;

	clock_gettime(CLOCK_REALTIME, &now);
	memset(&far_away, 0, sizeof(far_away));
	far_away.it_value.tv_sec = now.tv_sec + FAR_AWAY_SECONDS;
	timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far_away, NULL);
}

static int open_route(void)
{
	struct sockaddr_nl local = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) == 0)
		return fd;
	close(fd);
	return -1;
}

void netwatch_open(struct netwatch *watch)
{
	watch->route_fd = open_route();
	watch->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (watch->clock_fd >= 0)
		arm_clock(watch->clock_fd);
}

void netwatch_close(struct netwatch *watch)
{
	if (watch->route_fd >= 0)
		close(watch->route_fd);
	if (watch->clock_fd >= 0)
		close(watch->clock_fd);
}

static bool take_routes(int fd)
{
	/* Which change it was does not matter: the route to the reflector is looked up anew. */
	char scratch[8192];
	bool changed = false;
	ssize_t got;

	while ((got = recv(fd, scratch, sizeof(scratch), 0)) > 0 || (got < 0 && errno == ENOBUFS))
		changed = true;
	return changed;
}

static bool take_clock(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) >= 0 || errno != ECANCELED)
		return false;
	arm_clock(fd);
	return true;
}

bool netwatch_take(struct netwatch *watch)
{
	bool changed = watch->route_fd >= 0 && take_routes(watch->route_fd);
	bool slept = watch->clock_fd >= 0 && take_clock(watch->clock_fd);

	return changed || slept;
}
