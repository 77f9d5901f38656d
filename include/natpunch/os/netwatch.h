/*
 * netwatch.h - notices changes on this machine: links, addresses and routes (rtnetlink), and a
 * clock that was set or a machine that slept (timerfd).
 */
#ifndef NATPUNCH_OS_NETWATCH_H
#define NATPUNCH_OS_NETWATCH_H

#include <stdbool.h>

#include "natpunch/os/sandbox.h"

extern const struct sandbox_call netwatch_calls[];

struct netwatch {
	int route_fd; /* readable when links, addresses or routes changed; -1: cannot be watched */
	int clock_fd; /* readable after a suspend, or when the clock was set; -1 likewise */
};

/* Never fails: what cannot be watched is left out, and a keep-alive finds the change later. */
void netwatch_open(struct netwatch *watch);
void netwatch_close(struct netwatch *watch);

/*
 * Empties both. Returns true when something happened that may have moved a mapping: an address or
 * a route came or went, a link came up or went down, the machine slept. Overruns count as changes.
 */
bool netwatch_take(struct netwatch *watch);

#endif
