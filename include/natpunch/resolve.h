/*
 * resolve.h - names to addresses, without making anybody wait.
 *
 * getaddrinfo(3) blocks for as long as a dead name server likes, so a name is looked up in a child
 * process that writes what it finds into a pipe; the parent polls the pipe beside everything else
 * and kills the child when it is no longer wanted. A numeric address costs no child.
 */
#ifndef NATPUNCH_RESOLVE_H
#define NATPUNCH_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/addr.h"
#include "natpunch/error.h"

#define RESOLVE_MAX                                                                                \
	16 /* addresses kept of one name; the rest are dropped, in getaddrinfo's order */

struct resolve {
	int fd; /* readable when there is something to take; -1 when the result is there already */
	pid_t pid; /* the child, or 0 */
	struct addr found[RESOLVE_MAX];
	size_t count;
	uint16_t port;
	bool done;
	struct error error; /* when done and count is 0 */
};

/*
 * Starts to look up `host` for `port`; `family` ADDR_NONE takes both. After this, `done` may
 * already be set. resolve_end() must follow in every case.
 */
void resolve_start(
	struct resolve *resolve, const char *host, uint16_t port, enum addr_family family);

/* Call when fd is readable. Sets `done` at the end, with addresses or with an error. */
void resolve_advance(struct resolve *resolve);

/* Frees what is held; kills and reaps the child if it still runs. */
void resolve_end(struct resolve *resolve);

#endif
