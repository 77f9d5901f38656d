/*
 * mapping_race.h - gets a mapping from the first reflector that answers.
 *
 * Reflectors are asked in the order given, and each one's addresses in the order of the resolver;
 * the next is started when the last one failed, or when nothing has been heard for
 * MAPPING_RACE_STAGGER_MS (the connection attempt delay of RFC 8305 section 5). Attempts
 * that were started go on; the first answer wins and the others are given up. So a dead reflector
 * costs a quarter of a second, and the first answer counts, with one exception: if a reflector with
 * a public address reports an address that is neither public nor one of this machine's, it is
 * believed only when no other one answers.
 */
#ifndef NATPUNCH_CLIENT_MAPPING_RACE_H
#define NATPUNCH_CLIENT_MAPPING_RACE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/borrow/borrow.h"
#include "natpunch/base/error.h"
#include "natpunch/base/mapping.h"
#include "natpunch/base/host_port.h"
#include "natpunch/os/resolve.h"
#include "natpunch/client/binding_client.h"
#include "natpunch/client/reflector_list.h"

#define MAPPING_RACE_STAGGER_MS    250
#define MAPPING_RACE_REFLECTOR_MAX REFLECTOR_LIST_MAX
#define MAPPING_RACE_ATTEMPT_MAX   32 /* questions under way at once; more wait until one ends */
#define MAPPING_RACE_WATCH_MAX     (MAPPING_RACE_REFLECTOR_MAX + MAPPING_RACE_ATTEMPT_MAX)

struct port_owner;

struct mapping_race_request {
	const struct host_port *reflectors; /* of a list that outlives the request */
	size_t reflector_count;             /* 1 to MAPPING_RACE_REFLECTOR_MAX */
	size_t first;    /* where in the list to begin; the rest follows in a circle */
	bool must_agree; /* servers of strangers: two must report the same address to be believed */
	enum mapping_protocol protocol;
	struct addr local;       /* port; ip or ADDR_NONE for any */
	enum addr_family family; /* of the reflectors; ADDR_NONE: both */
	bool look_up_both; /* a name that has addresses, none of them of `family`, is no domain of
			    * SRV records */
	const char *interface;              /* or NULL */
	const struct borrow_method *method; /* or NULL: the first that can */
	uint64_t timeout_ms;
	enum binding_mode mode; /* how a connection is to go on after the answer */
	uint16_t hold_seconds;  /* with BINDING_MODE_HOLD: the time between keep-alives */
	const struct resolve_helper *resolver; /* who looks names up, or NULL */
	const struct port_owner *owner; /* of the local port, as it was found before; or NULL */
	bool leave_free; /* UDP: the mapping is kept, and the port is not to be taken meanwhile */
	bool shared;     /* UDP: the caller speaks from the port with others as well, meanwhile */
};

struct mapping_race_result {
	struct mapping mapping;
	size_t reflector; /* its index in the request */
	bool no_nat;      /* the public address is one of this machine's own, with the same port */
	bool by_service;  /* SRV records led to it */
	bool nat_here;    /* one of this machine's own, with another port: a NAT on this machine */
	bool differs;     /* with must_agree: the port depends on who is asked */
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* which reflectors the port has spoken to */
	struct binding_client winner; /* still open, the caller's: binding_client_end() */

	/* What mapping_race_run() sets when it failed, and nothing else: see mapping_race_spoke().
	 */
	bool spoke;
	bool cannot;
};

/*
 * Runs until there is a mapping, all have failed, or the time is up. Returns 0, or -1 with *error
 * filled: the most telling of the failures, in the order PEER, NETWORK, LOCAL; a failure that is
 * the same with any reflector (BORROW_CANNOT) ends the run at once. Nothing is left open then.
 */
int mapping_race_run(const struct mapping_race_request *request, struct mapping_race_result *result,
	struct error *error);

/*
 * After a failure over TCP whose error has no hint: if a reflector answers over UDP, as many public
 * servers do alone, hints at that. Asks from any port; blocks until `deadline`, and for at most a
 * second.
 */
void mapping_race_hint_at_udp(
	const struct mapping_race_request *request, uint64_t deadline, struct error *error);

/* How the reflector is named in results and errors: "HOST:PORT" or "[HOST]:PORT". */
void mapping_race_name_reflector(const struct host_port *reflector, char *out, size_t size);

/*
 * The same in steps, for a caller that has other things to wait for. The request is not copied and
 * must outlive the race.
 */
enum mapping_race_state {
	MAPPING_RACE_RUNNING,
	MAPPING_RACE_MAPPED, /* mapping_race_take() */
	MAPPING_RACE_FAILED, /* mapping_race_error() */
};

struct mapping_race;

/* NULL when there is no memory. */
struct mapping_race *mapping_race_start(const struct mapping_race_request *request, uint64_t now);

/*
 * Fills MAPPING_RACE_WATCH_MAX entries for poll(2), unused ones with -1 as descriptor, and returns
 * when mapping_race_advance() wants to be called at the latest.
 */
uint64_t mapping_race_watch(
	const struct mapping_race *race, struct pollfd fds[MAPPING_RACE_WATCH_MAX]);

/* Goes on with what poll(2) found; fds NULL: nothing. */
enum mapping_race_state mapping_race_advance(
	struct mapping_race *race, const struct pollfd *fds, uint64_t now);

/* The same, until it has ended. */
enum mapping_race_state mapping_race_wait(struct mapping_race *race);

void mapping_race_take(struct mapping_race *race, struct mapping_race_result *result);

/* After mapping_race_take(): back to RUNNING, with the reflectors that were not taken so far. */
void mapping_race_go_on(struct mapping_race *race, uint64_t deadline, uint64_t now);
const struct error *mapping_race_error(const struct mapping_race *race);

/* Was there an address to ask? */
bool mapping_race_spoke(const struct mapping_race *race);

/* After MAPPING_RACE_FAILED: did this machine refuse (BORROW_CANNOT), so that trying again is idle?
 */
bool mapping_race_cannot(const struct mapping_race *race);

/* Was this address asked, and is there no word from it? */
bool mapping_race_is_silent(const struct mapping_race *race, const struct addr *remote);

/* Ends what is under way and frees the race; NULL is fine. */
void mapping_race_end(struct mapping_race *race);

#endif
