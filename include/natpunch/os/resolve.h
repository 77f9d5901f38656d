/*
 * resolve.h - looks names up without blocking.
 *
 * getaddrinfo(3) blocks for as long as a dead name server likes, so a name is looked up in a child
 * process that writes what it finds into a pipe; the parent polls the pipe beside everything else
 * and kills the child when it is no longer wanted. A numeric address costs no child, except an IPv4
 * address on a host that has IPv6 alone.
 *
 * Such a host reaches IPv4 addresses if its network has a NAT64 (nat64.h). If there is no IPv4
 * route to an address, the child also looks for the prefix, for RESOLVE_NAT64_MS at most. The
 * result stays an IPv4 address, also if the name server made it an IPv6 one (DNS64, RFC 6147);
 * resolve_target() is the address to connect to.
 */
#ifndef NATPUNCH_OS_RESOLVE_H
#define NATPUNCH_OS_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"
#include "natpunch/proto/nat64.h"

#include "natpunch/os/sandbox.h"

/* With a helper; beside the launcher's. The second where its children are not left. */
extern const struct sandbox_call resolve_calls[];
extern const struct sandbox_call resolve_kill_calls[];

#define RESOLVE_MAX                                                                                \
	16 /* addresses kept of one name; the rest are dropped, in getaddrinfo's order */

#define RESOLVE_NAT64_MS 1000

struct resolve {
	int fd; /* readable when there is something to take; -1 when the result is there already */
	pid_t pid; /* the child, or 0 */
	struct addr found[RESOLVE_MAX];
	uint8_t targets[RESOLVE_MAX]; /* whose each is: hosts of SRV records, counted from 0 */
	size_t count;
	struct nat64_prefix nat64; /* of this network, where it is needed */
	bool by_service; /* when done: by SRV records, so the ports are those that they name */
	bool done;
	bool leaves;        /* as the helper has it */
	struct error error; /* when done and count is 0 */
};

/*
 * Looks up for a confined process: starts a child that calls resolve_answer() with the same
 * arguments. Returns its pid, or -1 and errno.
 */
struct resolve_helper {
	pid_t (*start)(
		const void *context, const struct host_port *host, enum addr_family family, int fd);
	const void *context;
	bool leaves; /* a child that is not wanted any more is not killed: it ends with the pipe */
};

/*
 * Looks up as resolve_start_reflector() does, writes the result to fd, a pipe, and ends the
 * process: at the latest when the reading end is closed. Closes standard input, output and error
 * first.
 */
void resolve_answer(int fd, const struct host_port *host, enum addr_family family)
	__attribute__((noreturn));

/* Does it take a child to look this one up? */
bool resolve_takes_child(const struct host_port *reflector, enum addr_family family);

/*
 * Starts to look up `host` for `port`; `family` ADDR_NONE takes both. After this, `done` may
 * already be set. resolve_end() must follow in every case.
 */
void resolve_start(
	struct resolve *resolve, const char *host, uint16_t port, enum addr_family family);

/*
 * The same for a reflector. If no port was named and the name has no address, it is a domain, and
 * the hosts of its SRV records for natpunch are looked up, in the order of dns_srv.h. helper NULL:
 * by a child of our own.
 */
void resolve_start_reflector(struct resolve *resolve, const struct resolve_helper *helper,
	const struct host_port *reflector, enum addr_family family);

/* Call when fd is readable. Sets `done` at the end, with addresses or with an error. */
void resolve_advance(struct resolve *resolve);

/*
 * Waits for the end of the look-up, until `deadline` (clock_now_ms()) at most, TIMER_NONE for ever.
 * Returns 0 when there is an address; else -1 with *error filled: "cannot look up HOST: WHY".
 */
int resolve_wait(struct resolve *resolve, const char *host, uint64_t deadline, struct error *error);

/*
 * The address to connect to for found[index]: itself, or its NAT64 address if there is no route to
 * it.
 */
struct addr resolve_target(const struct resolve *resolve, size_t index);

/* Frees what is held; kills the child if it still runs, and reaps it, or leaves it. */
void resolve_end(struct resolve *resolve);

#endif
