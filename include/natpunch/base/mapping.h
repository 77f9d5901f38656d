/*
 * mapping.h - a mapping as a probe found it, and how it is printed and remembered.
 */
#ifndef NATPUNCH_BASE_MAPPING_H
#define NATPUNCH_BASE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"

enum mapping_protocol {
	MAPPING_TCP = 6, /* the IP protocol numbers */
	MAPPING_UDP = 17,
};

#define MAPPING_LINE_SIZE   1024
#define MAPPING_RECORD_SIZE 1024

struct mapping {
	struct addr public_addr;
	struct addr local;
	char reflector[272]; /* as the user named it: HOST:PORT */
	char method[16];     /* bind, repair, rewrite, raw */
	enum mapping_protocol protocol;
	/* The router that says it forwards a port to the local one. Without one, router is
	 * ADDR_NONE and the rest is empty. */
	struct addr router;
	char router_method[8]; /* pcp, nat-pmp, upnp */
	uint16_t router_port;
	uint32_t lease; /* seconds */
};

const char *mapping_protocol_name(enum mapping_protocol protocol); /* "tcp", "udp" */

/* Are public address and port, local port and protocol the same? */
bool mapping_equal(const struct mapping *a, const struct mapping *b);

/*
 * Checks a -f argument: "text", "ssh", "json", "env", or a string with at least one % in which
 * each % begins one of %a %p %A %P %r %m %%. Returns NULL, or a constant saying what is wrong.
 */
const char *mapping_check_format(const char *format);

/*
 * One line without its newline, in a format that mapping_check_format() accepted:
 *   text  ADDR PORT
 *   ssh   ssh -p PORT ADDR
 *   json  {"public_addr":"...","public_port":N,"ip4p":"...","local_addr":"...","local_port":N,
 *          "protocol":"tcp","method":"...","reflector":"...","family":4,"router":"...",
 *          "router_method":"pcp","router_port":N,"lease":N}
 *   env   NATPUNCH_PUBLIC_ADDR=... NATPUNCH_PUBLIC_PORT=... and so on, safe for a shell's eval
 * Returns 0, or -1 when it does not fit.
 */
int mapping_format(const struct mapping *mapping, const char *format, char out[MAPPING_LINE_SIZE])
	__attribute__((warn_unused_result));

/*
 * The content of a -c FILE: a version word, the env form up to the reflector, the router's port if
 * there is one, and a newline. mapping_decode_record() takes exactly what mapping_encode_record()
 * writes, and returns -1 for anything that differs by a byte.
 */
int mapping_encode_record(const struct mapping *mapping, char out[MAPPING_RECORD_SIZE])
	__attribute__((warn_unused_result));
int mapping_decode_record(struct mapping *out, const char *data, size_t size)
	__attribute__((warn_unused_result));

#endif
