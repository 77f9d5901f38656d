/*
 * nat64.h - the IPv4 address in an IPv6 address, for a network that has IPv6 alone and a NAT64
 * (RFC 6146) to the IPv4 hosts.
 *
 * Six forms (RFC 6052 2.2), by the length of the network's own prefix. Octet 8 is never used:
 *
 *   octet  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 *    /32   p  p  p  p  a  a  a  a  0  suffix . . . . . . .
 *    /40   p  p  p  p  p  a  a  a  0  a  suffix  . . . . .
 *    /48   p  p  p  p  p  p  a  a  0  a  a  suffix . . . .
 *    /56   p  p  p  p  p  p  p  a  0  a  a  a  suffix  . .
 *    /64   p  p  p  p  p  p  p  p  0  a  a  a  a  suffix .
 *    /96   p  p  p  p  p  p  p  p  p  p  p  p  a  a  a  a
 *
 * The name ipv4only.arpa has the IPv4 addresses 192.0.0.170 and 192.0.0.171, and no others; where
 * it has an IPv6 address, that is one of these forms, and tells the prefix (RFC 7050).
 */
#ifndef NATPUNCH_PROTO_NAT64_H
#define NATPUNCH_PROTO_NAT64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

#define NAT64_NAME "ipv4only.arpa"

/* All zero: there is none. */
struct nat64_prefix {
	uint8_t ip[12];
	uint8_t length; /* 32, 40, 48, 56, 64 or 96 bits; 0: there is none */
};

/*
 * Finds the prefix from the IPv6 addresses of NAT64_NAME; ignores an address that fits no form, or
 * more than one. Returns whether there is a prefix; if not, *out is all zero.
 */
bool nat64_find_prefix(const struct addr *answers, size_t count, struct nat64_prefix *out);

/*
 * Writes the IPv6 address, with the port, by which an IPv4 address is reached. Returns false where
 * there is none: no prefix, no IPv4 address, or one that is not public behind the prefix of all
 * networks, 64:ff9b::/96 (RFC 6052 3.1).
 */
bool nat64_map(const struct nat64_prefix *prefix, const struct addr *ipv4, struct addr *out);

/* The opposite: false for an address that does not have the prefix. */
bool nat64_unmap(const struct nat64_prefix *prefix, const struct addr *ipv6, struct addr *out);

#endif
