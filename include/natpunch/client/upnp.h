/*
 * upnp.h - has a router forward a port by UPnP (Internet Gateway Device), or asks it what its own
 * address is.
 *
 * A state machine that takes events and the time, and never blocks:
 *
 *     upnp_start() --> SEARCHING --> READY
 *                          \-------> FAILED
 *     upnp_map()   --> WORKING --> MAPPED, REFUSED or FAILED
 *     upnp_unmap() --> WORKING --> REMOVED, REFUSED or FAILED
 *
 * The last two can be called whenever nothing is under way and `has_service`: to renew a mapping,
 * or after another protocol has said no. A router that was restarted may listen on another port:
 * when they end as FAILED, start anew.
 *
 * Threat: any host of the local network, or a router that lies. TCP goes to the router's address
 * alone, without DNS and redirects; reads are bounded, and a search and a request each have one
 * deadline. The result (an address, a port, that it is forwarded) is the router's claim, and proves
 * nothing.
 */
#ifndef NATPUNCH_CLIENT_UPNP_H
#define NATPUNCH_CLIENT_UPNP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/client/http_exchange.h"
#include "natpunch/base/addr.h"
#include "natpunch/proto/http_url.h"
#include "natpunch/proto/igd_action.h"
#include "natpunch/proto/igd_description.h"

#define UPNP_LOCATIONS_MAX 4
#define UPNP_ANSWERS_MAX   10
#define UPNP_WATCH_MAX     2

enum upnp_state {
	UPNP_SEARCHING,
	UPNP_READY,
	UPNP_WORKING,
	UPNP_MAPPED,
	UPNP_REMOVED,
	UPNP_REFUSED, /* see `error` */
	UPNP_FAILED,  /* see `why` */
};

struct upnp_request {
	struct addr source;    /* this machine's IPv4 address towards the router; port 0 */
	struct addr router;    /* IPv4; its port does not matter */
	const char *interface; /* for SO_BINDTODEVICE, or NULL; must outlive the struct upnp */
};

struct upnp {
	enum upnp_state state;
	bool heard;                 /* the router has answered the search */
	bool has_service;           /* there is something to ask */
	struct addr external;       /* the router's own address, as it tells; may be ADDR_NONE */
	struct igd_mapping mapping; /* when MAPPED: what was granted; lease 0: for ever */
	unsigned error;             /* when REFUSED: the code; igd_error_name() */
	const char *why;            /* when FAILED */

	/* The rest is upnp.c's. */
	struct upnp_request request;
	uint64_t deadline;
	int search_fd; /* -1: closed */
	uint64_t search_due;
	size_t pauses, answers;
	size_t location_count, next_location;
	struct http_url locations[UPNP_LOCATIONS_MAX];
	struct igd_description description;
	size_t next_service;
	struct igd_service service; /* that is asked */
	struct igd_service
		spare; /* while SEARCHING, if has_service: the one if there is no better */
	struct http_exchange exchange;
	bool describing; /* the exchange is about a description, not about an action */
	struct igd_answer answer;
	unsigned tries; /* of other external ports */
};

/*
 * Begins to search, until `deadline` at the latest. upnp_end() must follow in every case. READY
 * comes as soon as a service tells its address, or none of those found does; so asking changes
 * nothing at the router.
 */
void upnp_start(
	struct upnp *upnp, const struct upnp_request *request, uint64_t deadline, uint64_t now);

/*
 * Has the router forward a port of its own to `mapping->internal`. If that port is forwarded to
 * another machine, or the router gives none below 1024, it is asked for another one; if it gives no
 * mappings with a lease, for one without.
 */
void upnp_map(struct upnp *upnp, const struct igd_mapping *mapping, uint64_t deadline);

/*
 * Takes a mapping back, unless its protocol and port are forwarded to another machine than
 * `mapping->internal`: many routers let one machine delete the mapping of another. REMOVED also if
 * there was none, or it is another machine's.
 */
void upnp_unmap(struct upnp *upnp, const struct igd_mapping *mapping, uint64_t deadline);

/* Is there something to wait for? */
bool upnp_is_busy(const struct upnp *upnp);

/*
 * Fills UPNP_WATCH_MAX entries for poll(2), unused ones with -1 as descriptor, and returns when
 * upnp_advance() wants to be called at the latest.
 */
uint64_t upnp_watch(const struct upnp *upnp, struct pollfd fds[UPNP_WATCH_MAX]);

/* Goes on with what has come. */
void upnp_advance(struct upnp *upnp, uint64_t now);

/* Closes everything; twice is fine. */
void upnp_end(struct upnp *upnp);

#endif
