/*
 * route.h - finds the gateway towards an address, from the kernel's routing.
 */
#ifndef NATPUNCH_OS_ROUTE_H
#define NATPUNCH_OS_ROUTE_H

#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/os/sandbox.h"

extern const struct sandbox_call route_calls[]; /* beside those of sockets */

struct route {
	struct addr gateway; /* ADDR_NONE: none, as on a tunnel or within one network */
	uint32_t interface;  /* its index; a link-local gateway has it as its scope, too */
};

/*
 * Finds the route to `remote` of packets that leave from `source`: routing may depend on it, so it
 * should be given. source NULL: any. `interface` is one that a socket is bound to, by name, or
 * NULL. An IPv4 route over an IPv6 gateway (RTA_VIA) has none. Ports are ignored. Returns 0, or -1
 * and errno, as ENETUNREACH or ENODEV; waits for the kernel alone.
 */
int route_find(const struct addr *remote, const struct addr *source, const char *interface,
	struct route *out);

#endif
