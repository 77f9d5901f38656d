/*
 * listeners.h - what a worker of the reflector listens on: for each address a TCP listener,
 * and a UDP socket unless it is for the line alone.
 */
#ifndef NATPUNCH_REFLECTOR_LISTENERS_H
#define NATPUNCH_REFLECTOR_LISTENERS_H

#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"
#include "natpunch/reflector/config.h"
#include "reflector/worker.h"

/*
 * Opens and watches all that config lists, and what the alternate addresses need besides. Returns
 * 0, or -1 with *error filled; in both cases worker_close() closes what is open by then.
 */
int listeners_open(
	struct worker *worker, const struct reflector_config *config, struct error *error);

/* The ports of the first worker once more, as far as it has them; as listeners_open(). */
int listeners_share(struct worker *other, const struct worker *first, struct error *error);

/* Logs them, a line each. */
void listeners_log(const struct worker *worker);

/*
 * Fills *error with why this address could not be listened on, cause being the errno, and with who
 * holds the port. Returns -1.
 */
int listeners_set_error(
	const struct addr *addr, enum mapping_protocol protocol, int cause, struct error *error);

#endif
