/*
 * igd_description.h - finds the services that map ports in a router's description, as it comes in
 * (UPnP Device Architecture 1.1 section 2.3; WANIPConnection, WANPPPConnection).
 *
 * Threat: any host may have sent the description. A control URL counts only on the server that
 * the description itself came from; see http_url.h and xml_scan.h for the rest.
 */
#ifndef NATPUNCH_PROTO_IGD_DESCRIPTION_H
#define NATPUNCH_PROTO_IGD_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/proto/http_url.h"
#include "natpunch/proto/xml_scan.h"

#define IGD_SERVICES_MAX 4 /* of a description; the least important of more are dropped */

/* In the order in which they are to be asked. */
enum igd_service_type {
	IGD_WAN_IP_2,
	IGD_WAN_IP_1,
	IGD_WAN_PPP_1,
	IGD_SERVICE_TYPES,
};

struct igd_service {
	enum igd_service_type type;
	struct http_url control;
};

struct igd_description {
	struct xml_scan xml;
	struct http_url base; /* what its URLs are relative to */
	bool is_bad;
	bool in_service;
	bool has_control;
	struct igd_service service; /* the one that is being read; type IGD_SERVICE_TYPES: none */
	size_t count;
	struct igd_service services[IGD_SERVICES_MAX]; /* by type; then as they came */
};

/* "urn:schemas-upnp-org:service:WANIPConnection:2", ... */
const char *igd_service_name(enum igd_service_type type);

/* Before the first byte of the description at `url`. */
void igd_description_start(struct igd_description *description, const struct http_url *url);

/* The next bytes. */
void igd_description_take(struct igd_description *description, const char *data, size_t size);

/* At its end: false when it was none, or was cut; then there is no service. */
bool igd_description_end(struct igd_description *description);

#endif
