/*
 * probe.h - a mapping from the first reflector that gives one.
 *
 * Reflectors are asked in the order given, and each one's addresses in the order of the resolver;
 * the next is started when the last one failed, or when nothing has been heard for
 * PROBE_STAGGER_MS (the connection attempt delay of RFC 8305 section 5). All that were started go
 * on; the first answer wins and the others are given up. So a dead reflector costs a quarter of a
 * second, and no reflector that answers is ever passed over.
 */
#ifndef NATPUNCH_PROBE_H
#define NATPUNCH_PROBE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/borrow.h"
#include "natpunch/error.h"
#include "natpunch/mapping.h"
#include "natpunch/parse.h"
#include "natpunch/resolve.h"
#include "natpunch/transaction.h"

#define PROBE_STAGGER_MS    250
#define PROBE_REFLECTOR_MAX 16
#define PROBE_ATTEMPT_MAX   32 /* questions under way at once; more wait until one ends */
#define PROBE_WATCH_MAX     (PROBE_REFLECTOR_MAX + PROBE_ATTEMPT_MAX)

struct holder;

struct probe_request {
	struct parse_host_port reflectors[PROBE_REFLECTOR_MAX];
	size_t reflector_count; /* at least 1 */
	size_t first;           /* where in the list to begin; the rest follows in a circle */
	bool must_agree; /* servers of strangers: two must report the same address to be believed */
	enum mapping_protocol protocol;
	struct addr local;                  /* port; ip or ADDR_NONE for any */
	enum addr_family family;            /* of the reflectors; ADDR_NONE: both */
	const char *interface;              /* or NULL */
	const struct borrow_method *method; /* or NULL: the first that can */
	uint64_t timeout_ms;
	enum binding_mode mode; /* how a connection is to go on after the answer */
	uint16_t hold_seconds;  /* with BINDING_MODE_HOLD: the time between keep-alives */
	const struct resolve_helper *resolver; /* who looks names up, or NULL */
	const struct holder *holder; /* of the local port, as it was found before; or NULL */
};

struct probe_result {
	struct mapping mapping;
	size_t reflector;                    /* its index in the request */
	bool no_nat;                         /* the public address is one of this machine's own */
	bool differs;                        /* with must_agree: the port depends on who is asked */
	bool contacted[PROBE_REFLECTOR_MAX]; /* which reflectors the port has spoken to */
	struct transaction winner;           /* still open, the caller's: transaction_end() */
};

/*
 * Runs until there is a mapping, all have failed, or the time is up. Returns 0, or -1 with *error
 * filled: the most telling of the failures, in the order PEER, NETWORK, LOCAL; a failure that no
 * other reflector would mend (BORROW_CANNOT) ends the run at once. Nothing is left open then.
 */
int probe_run(
	const struct probe_request *request, struct probe_result *result, struct error *error);

/* How the reflector is named in results and errors: "HOST:PORT" or "[HOST]:PORT". */
void probe_name_reflector(const struct parse_host_port *reflector, char *out, size_t size);

/*
 * The same in steps, for a caller that has other things to wait for. The request is not copied and
 * must outlive the race.
 */
enum probe_state {
	PROBE_RUNNING,
	PROBE_MAPPED, /* probe_race_take() */
	PROBE_FAILED, /* probe_race_error() */
};

struct probe_race;

/* NULL when there is no memory. */
struct probe_race *probe_race_start(const struct probe_request *request, uint64_t now);

/*
 * Fills PROBE_WATCH_MAX entries for poll(2), unused ones with -1 as descriptor, and returns when
 * probe_race_advance() wants to be called at the latest.
 */
uint64_t probe_race_watch(const struct probe_race *race, struct pollfd fds[PROBE_WATCH_MAX]);

/* Goes on with what poll(2) found; fds NULL: nothing. */
enum probe_state probe_race_advance(
	struct probe_race *race, const struct pollfd *fds, uint64_t now);

void probe_race_take(struct probe_race *race, struct probe_result *result);
const struct error *probe_race_error(const struct probe_race *race);

/* After PROBE_FAILED: did this machine refuse (BORROW_CANNOT), so that trying again is idle? */
bool probe_race_cannot(const struct probe_race *race);

/* Ends what is under way and frees the race; NULL is fine. */
void probe_race_end(struct probe_race *race);

#endif
