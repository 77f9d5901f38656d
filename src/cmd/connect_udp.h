/*
 * connect_udp.h - connect -u: prints where home's UDP port is, once both NATs are open to it.
 */
#ifndef NATPUNCH_CMD_CONNECT_UDP_H
#define NATPUNCH_CMD_CONNECT_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/name_options.h"
#include "natpunch/base/error.h"

struct connect_udp_options {
	bool wanted;          /* -u */
	uint16_t port;        /* -p, the daemon's */
	const char *method;   /* -m, or NULL */
	const char *format;   /* -f, checked, or NULL */
	bool keep;            /* -k */
	uint64_t interval_ms; /* -i, or 0 */
};

/* Confined. Returns 0, or -1 with *error filled. With -k it returns on an error alone. */
int connect_udp_run(const struct name_options *chosen, const struct connect_udp_options *options,
	struct error *error);

#endif
