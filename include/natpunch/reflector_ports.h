/*
 * reflector_ports.h - what a thread of the reflector listens on: for each address a TCP listener,
 * and a UDP socket unless it is for the line alone.
 */
#ifndef NATPUNCH_REFLECTOR_PORTS_H
#define NATPUNCH_REFLECTOR_PORTS_H

#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/error.h"
#include "natpunch/mapping.h"
#include "natpunch/reflector.h"
#include "natpunch/reflector_thread.h"

/*
 * Opens and watches all that config says, and what the alternate addresses take beside it. Returns
 * 0, or -1 with *error filled; what is open by then is for reflector_ports_close(), in both cases.
 */
int reflector_ports_open(
	struct reflector *reflector, const struct reflector_config *config, struct error *error);

/* The ports of the first thread once more, as far as it has them; as reflector_ports_open(). */
int reflector_ports_share(
	struct reflector *other, const struct reflector *first, struct error *error);

void reflector_ports_close(struct reflector *reflector);

/* Watches the TCP listeners for these events of epoll: EPOLLIN, or 0. */
void reflector_ports_watch(struct reflector *reflector, uint32_t events);

/* Logs them, a line each. */
void reflector_ports_tell(const struct reflector *reflector);

/*
 * Fills *error with why this address could not be listened on, cause being the errno, and with who
 * holds the port. Returns -1.
 */
int reflector_ports_fail(
	const struct addr *addr, enum mapping_protocol protocol, int cause, struct error *error);

#endif
