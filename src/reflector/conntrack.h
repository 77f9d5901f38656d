/*
 * conntrack.h - deletes from this host's own connection tracking the connections that both ends
 * have forgotten.
 */
#ifndef NATPUNCH_REFLECTOR_CONNTRACK_H
#define NATPUNCH_REFLECTOR_CONNTRACK_H

#include "natpunch/base/addr.h"
#include "natpunch/reflector/config.h"

struct conntrack {
	int pipe; /* -1: there is no helper */
};

/*
 * Starts the helper, if a connection can be forgotten at all and config->confine says that this
 * process is the reflector's own. Call it before anything else is opened: the helper inherits it.
 * When something is missing, -v says what, and there is no helper.
 */
void conntrack_open(struct conntrack *conntrack, const struct reflector_config *config);
void conntrack_close(struct conntrack *conntrack);

/* Has the entry of this TCP connection deleted, a moment later. By any worker; nothing waits. */
void conntrack_forget(
	const struct conntrack *conntrack, const struct addr *local, const struct addr *peer);

#endif
