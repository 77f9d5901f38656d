/* upnp.h, blocking, until there is nothing to wait for. */
#ifndef NATPUNCH_TESTS_UPNP_RUN_H
#define NATPUNCH_TESTS_UPNP_RUN_H

#include <poll.h>

#include "natpunch/client/upnp.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/loop.h"

static inline void upnp_run(struct upnp *upnp)
{
	struct pollfd fds[UPNP_WATCH_MAX];

	while (upnp_is_busy(upnp)) {
		uint64_t due = upnp_watch(upnp, fds);

		(void)poll(fds, UPNP_WATCH_MAX, clock_poll_ms(clock_now_ms(), due));
		upnp_advance(upnp, clock_now_ms());
	}
}

#endif
