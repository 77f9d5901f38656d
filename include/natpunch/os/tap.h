/*
 * tap.h - sees packets that come to a port before this machine's own firewall does (packet(7)).
 *
 * A raw socket gets its copy behind the firewall's input rules, a packet socket before them: a
 * packet that comes here and not to the service was dropped by this machine, not by a NAT. A tap
 * only watches. Needs CAP_NET_RAW.
 */
#ifndef NATPUNCH_OS_TAP_H
#define NATPUNCH_OS_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/os/sandbox.h"

/* Beside those of a socket. */
extern const struct sandbox_call tap_calls[];

#define TAP_ANY_PORT 0

/*
 * Opens one for what is sent to `port` of this machine: over TCP only the SYNs that begin a
 * connection, over UDP all. Returns a non-blocking descriptor, or -1 and errno (EPERM: no
 * CAP_NET_RAW).
 */
int tap_open(enum addr_family family, enum mapping_protocol protocol, uint16_t port);

/*
 * Takes one packet: where it came from, and was sent to, with the ports, and up to `capacity` bytes
 * of what it carries; destination may be NULL. Returns 1, 0 for one that is unreadable or not for
 * us by its link layer, or -1 and errno (EAGAIN: none). Its destination need not be an address of
 * this machine, which may be a router.
 */
int tap_receive(int fd, enum mapping_protocol protocol, struct addr *source,
	struct addr *destination, void *data, size_t capacity, size_t *size);

/* Were packets lost for lack of room since the last call? */
bool tap_has_lost(int fd);

#endif
