/*
 * parse.h - text that a person typed, to a value: strictly.
 *
 * Digits only, base 10, the whole string, in range; nothing is guessed. Every parser returns 0, or
 * -1 and leaves *out alone.
 */
#ifndef NATPUNCH_PARSE_H
#define NATPUNCH_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARSE_HOST_SIZE 256 /* a DNS name of 253 (RFC 1035 2.3.4), a dot, a NUL */

struct parse_host_port {
	char host[PARSE_HOST_SIZE]; /* a name, an IPv4 or an IPv6 text without brackets; may be ""
				     */
	uint16_t port;              /* 1 to 65535 */
	bool port_named;            /* in the text, so that port is not the default */
};

/* Digits only, from min to max. "0022" is 22; "", "+22", " 22", "22x" and "0x16" are not numbers.
 */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
	__attribute__((warn_unused_result));

/* A port, 1 to 65535. */
int parse_port(const char *text, uint16_t *out) __attribute__((warn_unused_result));

/*
 * Seconds with an optional fraction ("5", "0.25", ".5"), from 1 ms to max_ms, into milliseconds;
 * digits after the third are dropped.
 */
int parse_seconds(const char *text, uint64_t max_ms, uint64_t *out_ms)
	__attribute__((warn_unused_result));

/*
 * "HOST", "HOST:PORT", "[v6]", "[v6]:PORT", or a bare IPv6 text (two or more colons, no port).
 * A name or an IPv4 text holds letters, digits, '-', '.' and '_', nothing else, and begins with no
 * '-'. An IPv6 text may end in "%SCOPE", a number or an interface's name.
 */
int parse_host_port(const char *text, uint16_t default_port, struct parse_host_port *out)
	__attribute__((warn_unused_result));

/* "[ADDR:]PORT" of -l and -T: as above but the port is a must and HOST may be missing ("3478"). */
int parse_listen(const char *text, struct parse_host_port *out) __attribute__((warn_unused_result));

#endif
