/*
 * ssdp.h - finds a router that speaks UPnP: a datagram to 239.255.255.250:1900 or to the router
 * itself, and answers of one datagram each (UPnP Device Architecture 1.1, section 1.3).
 *
 * Threat: anybody in the network can answer. Only a description on the router itself counts.
 */
#ifndef NATPUNCH_PROTO_SSDP_H
#define NATPUNCH_PROTO_SSDP_H

#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/http_url.h"

#define SSDP_GROUP       "239.255.255.250"
#define SSDP_PORT        1900
#define SSDP_SEARCH_SIZE 192
#define SSDP_ANSWER_MAX  1500 /* what is longer is read so far */

/* Asks for InternetGatewayDevice:1 or :2. Returns the length. */
size_t ssdp_write_search(unsigned version, char out[SSDP_SEARCH_SIZE]);

/*
 * Reads an answer of an InternetGatewayDevice: where the description is, on `router` (its port does
 * not matter). Returns 0, or -1 and leaves *location alone.
 */
int ssdp_read_answer(const void *data, size_t size, const struct addr *router,
	struct http_url *location) __attribute__((warn_unused_result));

#endif
