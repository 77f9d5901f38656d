/*
 * addr.h - an IP address and a port, as a value.
 *
 * Independent of sockaddr (os/socket.h converts), comparable, printable, parsable.
 */
#ifndef NATPUNCH_BASE_ADDR_H
#define NATPUNCH_BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum addr_family {
	ADDR_NONE = 0, /* no address; as an argument it can mean any */
	ADDR_IPV4 = 4,
	ADDR_IPV6 = 6,
};

struct addr {
	uint8_t ip[16]; /* network order; an IPv4 address in the first 4, the rest zero */
	uint32_t scope; /* IPv6 interface index for link-local addresses, else 0 */
	uint16_t port;  /* host order; 0 where there is none */
	uint8_t family; /* enum addr_family */
};

/* What an address says of where it lies; see addr_classify(). */
enum addr_class {
	ADDR_CLASS_PUBLIC,
	ADDR_CLASS_UNSPECIFIED, /* 0/8 (RFC 6890), :: */
	ADDR_CLASS_LOOPBACK,    /* 127/8, ::1 (RFC 6890) */
	ADDR_CLASS_PRIVATE,     /* RFC 1918; IPv6 unique local, RFC 4193 */
	ADDR_CLASS_SHARED,      /* 100.64/10, carrier-grade NAT (RFC 6598) */
	ADDR_CLASS_LINK_LOCAL,  /* 169.254/16 (RFC 3927), fe80::/10 */
	ADDR_CLASS_MULTICAST,   /* 224/4, ff00::/8, and 255.255.255.255 */
};

/* Longest texts, each with its ending NUL. */
#define ADDR_IP_TEXT_SIZE 64 /* "xxxx:...:xxxx%4294967295" */
#define ADDR_TEXT_SIZE    80 /* "[ip]:65535" */
#define ADDR_IP4P_SIZE    32

size_t addr_ip_size(const struct addr *addr); /* 4, 16, or 0 for ADDR_NONE */

bool addr_equal(const struct addr *a, const struct addr *b);    /* family, ip, port (not scope) */
bool addr_equal_ip(const struct addr *a, const struct addr *b); /* family and ip */

/*
 * An IPv4-mapped IPv6 address (::ffff:a.b.c.d, RFC 4291 2.5.5.2) becomes the IPv4 address in it;
 * every other address stays as it is.
 */
void addr_unmap(struct addr *addr);

enum addr_class addr_classify(const struct addr *addr);
const char *addr_class_name(
	enum addr_class class); /* "public", "private", "carrier-grade NAT", ... */

/*
 * Parses an IPv4 dotted quad (four decimal numbers, no leading zeros beyond "0") or an IPv6 text
 * (RFC 4291 2.2), with an optional "%N" numeric scope on IPv6. The whole string must fit; port is
 * set to 0. Returns 0, or -1 when it is not one.
 */
int addr_parse_ip(struct addr *out, const char *text) __attribute__((warn_unused_result));

/* "a.b.c.d" or "x:y::z", IPv6 in the form of RFC 5952; "?" for ADDR_NONE. Returns out. */
const char *addr_format_ip(const struct addr *addr, char out[ADDR_IP_TEXT_SIZE]);

/* "a.b.c.d:port" or "[x:y::z]:port". Returns out. */
const char *addr_format(const struct addr *addr, char out[ADDR_TEXT_SIZE]);

/*
 * The mapping as one IPv6 address, 2001::PPPP:AAAA:BBBB in hex (port, then the IPv4 address), the
 * form that natmap's scripts expect; "" for an IPv6 mapping, which has no such form. Returns out.
 */
const char *addr_format_ip4p(const struct addr *addr, char out[ADDR_IP4P_SIZE]);

#endif
