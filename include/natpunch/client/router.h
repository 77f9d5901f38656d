/*
 * router.h - asks the home router to forward a port to this machine, and to forget that again.
 *
 * By PCP and NAT-PMP (pcp.h), and UPnP (upnp.h). Nothing here blocks, except router_run(). A
 * router's answer is a claim: anybody in the home network can forge it, and there may be another
 * NAT beyond. So no part of a result is printed as an address of this machine; it says what to try.
 *
 * A state, with the time since the start:
 *
 *	0 ms      a MAP of PCP, of NAT-PMP a request for the router's address, and UPnP's search
 *	100 ms    PCP is silent: if NAT-PMP was heard, a MAP of NAT-PMP; at once where PCP refuses
 *	250 ms    nothing was heard: ROUTER_SILENT. Else all that is unanswered again, and at
 *	          750 ms. UPnP maps, if it alone was heard; at once where the others refuse
 *	1500 ms   the end
 *
 * With `look` it is asked what it speaks and which address it has, and nothing changes there: PCP's
 * ANNOUNCE, NAT-PMP's address, and UPnP's GetExternalIPAddress. That ends when all have answered,
 * else at 250 ms, and at 1500 ms for UPnP that was heard.
 *
 * Only one protocol maps at a time, as a router takes the second for a change of the first. An ICMP
 * error says at once that nobody listens for PCP and NAT-PMP.
 */
#ifndef NATPUNCH_CLIENT_ROUTER_H
#define NATPUNCH_CLIENT_ROUTER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/upnp.h"
#include "natpunch/proto/pcp.h"

/* In the order in which they are preferred. */
enum router_method {
	ROUTER_PCP,
	ROUTER_NAT_PMP,
	ROUTER_UPNP,
	ROUTER_METHOD_COUNT,
	ROUTER_NO_METHOD = ROUTER_METHOD_COUNT,
};

#define ROUTER_ALL_METHODS ((1U << ROUTER_METHOD_COUNT) - 1)

#define ROUTER_LEASE_DEFAULT 7200 /* seconds */
#define ROUTER_LEASE_MIN     120
#define ROUTER_LEASE_MAX     86400

#define ROUTER_PATIENCE_MS 100  /* for PCP, before NAT-PMP maps */
#define ROUTER_SILENCE_MS  250  /* for the first word, and for all when a port is given back */
#define ROUTER_REPEAT_MS   750  /* the second repetition */
#define ROUTER_DEADLINE_MS 1500 /* for a router that said something */
#define ROUTER_WATCH_MAX   (1 + UPNP_WATCH_MAX)

/* "pcp" and so on, as options and output name them, and as people do ("PCP"); "" for none. */
const char *router_method_name(enum router_method method);
const char *router_method_title(enum router_method method);

/* "PCP, NAT-PMP": the titles of those whose bits (1 << enum router_method) are set. Returns out. */
#define ROUTER_METHODS_TEXT_SIZE 64
const char *router_methods_format(unsigned methods, char out[ROUTER_METHODS_TEXT_SIZE]);

/* Reads a list of methods, "pcp,upnp", as bits 1 << method. Returns 0, or -1. */
int router_parse_methods(const char *list, unsigned *out) __attribute__((warn_unused_result));

/* A secret of this machine, from which nonces are made. */
struct router_secret {
	uint8_t bytes[64];
	size_t size;
};

/*
 * Reads the machine's id (machine-id(5)), or where it has none the kernel's of this boot. Call it
 * before files are out of reach.
 */
void router_read_secret(struct router_secret *out);

struct router_request {
	struct addr router;    /* whom to ask; its port is not looked at, 0 is pcp.h's */
	struct addr source;    /* an address of this machine: to this one is forwarded */
	const char *interface; /* to be bound to, or NULL */
	const struct router_secret *secret; /* not looked at after the start */
	enum mapping_protocol protocol;
	uint16_t port;    /* of this machine */
	uint16_t wish;    /* the router's port; best the one that was granted last */
	uint32_t lease;   /* seconds; 0: it is to forget the forward, of the port `wish` */
	unsigned methods; /* bits; NAT-PMP and UPnP are for IPv4 alone */
	bool brief;       /* ROUTER_SILENCE_MS for all of it */
	bool look;        /* change nothing; from `protocol` to `lease` nothing is looked at */
};

enum router_state {
	ROUTER_ASKING,
	ROUTER_DONE,    /* it forwards, or with lease 0 has forgotten by one protocol at least; with
			 * `look`: it speaks one */
	ROUTER_REFUSED, /* `refusal` says why, as the router has it */
	ROUTER_SILENT,  /* no answer, or none to the request itself (heard) */
};

struct router_result {
	enum router_method method; /* that decided; ROUTER_NO_METHOD with ROUTER_SILENT */
	struct addr router;
	uint16_t port;        /* DONE: of the router */
	uint32_t lease;       /* DONE: seconds; 0: for ever, by UPnP */
	uint32_t epoch;       /* DONE: see pcp_epoch_take() */
	struct addr external; /* the address that it claims to have; ADDR_NONE: it claims none */
	unsigned methods;     /* `look`: bits, of the protocols that it speaks */
	uint64_t answered_ms; /* after the start; when it was heard */
	uint16_t result;      /* REFUSED: the number; `look`: why NAT-PMP tells no address, or 0; */
	const char *refusal;  /* and its name, "NOT_AUTHORIZED"; */
	bool forbidden;       /* it may not forward that port, to this machine */
	bool heard;           /* SILENT: it did say something */
	int problem;          /* SILENT: an errno value, as ECONNREFUSED, or 0 */
};

enum router_lane_state {
	ROUTER_LANE_OFF,     /* not to be asked, or it does not speak this */
	ROUTER_LANE_GREETED, /* NAT-PMP: asked for the address; UPnP: searched for */
	ROUTER_LANE_READY,   /* these: it speaks it, and has not been asked to map */
	ROUTER_LANE_ASKED,   /* to map */
	ROUTER_LANE_DONE,
	ROUTER_LANE_REFUSED,
};

struct router_lane {
	enum router_lane_state state;
	struct pcp_answer answer;
};

struct router {
	enum router_state state;
	struct router_result result; /* once the state is not ROUTER_ASKING */
	struct router_request request;
	uint8_t nonce[PCP_NONCE_SIZE];
	struct router_lane lanes[ROUTER_METHOD_COUNT];
	struct upnp upnp;
	struct addr external; /* as NAT-PMP or UPnP tells it */
	bool heard;           /* by PCP or NAT-PMP */
	unsigned repeats;
	int fd; /* of PCP and NAT-PMP */
	uint64_t start;
};

/* Starts; router_end() must follow in every case. Times are of clock_now_ms(). */
void router_start(struct router *router, const struct router_request *request, uint64_t now);

/* Fills all entries for poll(2); returns when router_advance() wants to be called. */
uint64_t router_watch(const struct router *router, struct pollfd fds[ROUTER_WATCH_MAX]);

/* Goes on with what there is. */
enum router_state router_advance(struct router *router, uint64_t now);

/* Closes what is open; the state and the result stay. Twice is once. */
void router_end(struct router *router);

/* All of it, blocking, for several that were started. */
void router_run(struct router *routers, size_t count);

#endif
