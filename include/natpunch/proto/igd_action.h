/*
 * igd_action.h - writes UPnP requests to a router as whole HTTP requests, and reads the answers as
 * they come in (UPnP Device Architecture 1.1 section 3; WANIPConnection:2 section 2.5).
 *
 * Threat: any host may have sent the answer. An address or a port in it is a claim, and proves
 * nothing.
 */
#ifndef NATPUNCH_PROTO_IGD_ACTION_H
#define NATPUNCH_PROTO_IGD_ACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/proto/http_url.h"
#include "natpunch/proto/igd_description.h"
#include "natpunch/proto/xml_scan.h"

#define IGD_REQUEST_SIZE 2048 /* the longest request, and a NUL */

/* Error codes that mean something to us; the others are shown by igd_error_name(). */
#define IGD_ERROR_INVALID_ARGS       402
#define IGD_ERROR_NOT_AUTHORIZED     606
#define IGD_ERROR_NO_SUCH_ENTRY      714
#define IGD_ERROR_CONFLICT           718
#define IGD_ERROR_PERMANENT_ONLY     725
#define IGD_ERROR_CONFLICT_MECHANISM 729

enum igd_action {
	IGD_ADD,     /* AddPortMapping */
	IGD_ADD_ANY, /* AddAnyPortMapping: another external port if need be; WANIPConnection:2 */
	IGD_DELETE,  /* DeletePortMapping: of protocol and external port alone */
	IGD_LOOK_UP, /* GetSpecificPortMappingEntry: whose are these? */
	IGD_EXTERNAL_ADDRESS, /* GetExternalIPAddress: of no mapping */
	IGD_ACTIONS,
};

struct igd_mapping {
	enum mapping_protocol protocol;
	uint16_t external_port;
	struct addr internal; /* IPv4, and the port */
	uint32_t lease;       /* seconds; 0: for ever */
};

/* A request for the description at `url`. Returns its length. */
size_t igd_write_get(const struct http_url *url, char out[IGD_REQUEST_SIZE]);

/* Returns the length. `mapping` may be NULL for IGD_EXTERNAL_ADDRESS. */
size_t igd_write_request(enum igd_action action, const struct igd_service *service,
	const struct igd_mapping *mapping, char out[IGD_REQUEST_SIZE]);

/* What an answer says. */
struct igd_answer {
	struct xml_scan xml;
	enum igd_action action;
	bool is_bad;
	bool is_response;     /* it is that action's */
	unsigned error;       /* the code of a fault, or 0 */
	uint16_t port;        /* that IGD_ADD_ANY gave, or 0 */
	struct addr external; /* what IGD_EXTERNAL_ADDRESS told; ADDR_NONE: nothing of use */
	struct addr internal; /* what IGD_LOOK_UP told, with the port */
};

/* Before the first byte of the answer's body. */
void igd_answer_start(struct igd_answer *answer, enum igd_action action);

/* The next bytes. */
void igd_answer_take(struct igd_answer *answer, const char *data, size_t size);

/* At its end: is it a response to that action, or a fault with a code? */
bool igd_answer_end(const struct igd_answer *answer);

/* "ConflictInMappingEntry", ... as the specifications have it; "" for codes that have no name. */
const char *igd_error_name(unsigned error);

#endif
