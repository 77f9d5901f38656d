/*
 * first_bytes.h - tells a client's protocol by its first bytes, and writes the answers for clients
 * that do not speak STUN.
 *
 * One TCP port serves all protocols. STUN begins with two zero bits (RFC 8489 section 5), HTTP with
 * a letter. The bytes CR and LF also begin with two zero bits; as the high byte of a STUN message
 * type (0x0A.., 0x0D..) they belong to no method, and none of ours may ever use them.
 */
#ifndef NATPUNCH_PROTO_FIRST_BYTES_H
#define NATPUNCH_PROTO_FIRST_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

enum first_bytes {
	FIRST_BYTES_MORE,    /* too few bytes to tell */
	FIRST_BYTES_STUN,    /* begins as a STUN message does; stun_frame() judges the rest */
	FIRST_BYTES_NEWLINE, /* a person, or `echo | nc`: wants the line */
	FIRST_BYTES_GET,     /* "GET " (RFC 9110 9.3.1) */
	FIRST_BYTES_HEAD,    /* "HEAD " (RFC 9110 9.3.2) */
	FIRST_BYTES_UNKNOWN,
};

/* Longest answers. */
#define FIRST_BYTES_LINE_SIZE (ADDR_IP_TEXT_SIZE + 8) /* "ADDR PORT\n" and a NUL */
#define FIRST_BYTES_HTTP_SIZE (FIRST_BYTES_LINE_SIZE + 192)

/* The most bytes for which FIRST_BYTES_MORE can be returned. */
#define FIRST_BYTES_MORE_MAX 4

/* Judges the first bytes of a connection. */
enum first_bytes first_bytes_classify(const void *data, size_t size);

/*
 * Finds the empty line that ends the headers of a request, in pieces of any size (RFC 9112 2.2:
 * lines end with CRLF, a bare LF is accepted). *state is 0 before the first piece. Returns true
 * once the empty line has been seen; what stands behind it is not looked at.
 */
bool first_bytes_skip_headers(uint8_t *state, const void *data, size_t size);

/*
 * "ADDR PORT\n", the address without a scope. Returns its length.
 */
size_t first_bytes_write_line(const struct addr *addr, char out[FIRST_BYTES_LINE_SIZE]);

/*
 * Is this that line, whole? The reflector sends it to a client that is silent for a while: a
 * request that was lost and sent again can come after it.
 */
bool first_bytes_is_line(const void *data, size_t size);

/*
 * An HTTP/1.0 answer with that line as text/plain; with `head_only` its headers alone, which say
 * the length of the body that is left out (RFC 9110 9.3.2). Returns its length.
 */
size_t first_bytes_write_http(
	const struct addr *addr, bool head_only, char out[FIRST_BYTES_HTTP_SIZE]);

#endif
