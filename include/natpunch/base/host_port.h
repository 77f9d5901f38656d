/*
 * host_port.h - reads "HOST:PORT" as a person types it, as strictly as parse.h.
 */
#ifndef NATPUNCH_BASE_HOST_PORT_H
#define NATPUNCH_BASE_HOST_PORT_H

#include <stdbool.h>
#include <stdint.h>

#define HOST_PORT_HOST_SIZE 256 /* a DNS name of 253 (RFC 1035 2.3.4), a dot, a NUL */

struct host_port {
	char host[HOST_PORT_HOST_SIZE]; /* a name, an IPv4 or an IPv6 text without brackets; may be
					 * ""
					 */
	uint16_t port;                  /* 1 to 65535 */
	bool port_named;                /* in the text, so that port is not the default */
};

/*
 * "HOST", "HOST:PORT", "[v6]", "[v6]:PORT", or a bare IPv6 text (two or more colons, no port).
 * A name or an IPv4 text holds letters, digits, '-', '.' and '_', nothing else, and begins with no
 * '-'. An IPv6 text may end in "%SCOPE", a number or an interface's name.
 */
int host_port_parse(const char *text, uint16_t default_port, struct host_port *out)
	__attribute__((warn_unused_result));

#define HOST_PORT_TEXT_SIZE (HOST_PORT_HOST_SIZE + 8)

/* Writes it so that host_port_parse() reads the same; the port where it was named. Returns out. */
char *host_port_format(const struct host_port *host_port, char out[HOST_PORT_TEXT_SIZE]);

/* "[ADDR:]PORT" of -l and -T: as above, except that PORT is required and ADDR optional ("3478"). */
int host_port_parse_listen(const char *text, struct host_port *out)
	__attribute__((warn_unused_result));

#endif
