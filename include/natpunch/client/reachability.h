/*
 * reachability.h - does a mapping let strangers in?
 *
 * Reflectors are asked to dial the mapping, all at once, each over a connection of its own from
 * another local port (dialback_client.h), so that asking makes no room for them in the NAT: the one
 * that saw the mapping, to dial from another port and from its other address, and up to
 * REACHABILITY_LANE_MAX - 1 more, first those that were never contacted from the port in question.
 *
 * A stranger gets through if it connects, and to this machine: its arrivals are watched meanwhile
 * (arrivals.h). If a dial-back connected and did not arrive here, another machine answered. If that
 * cannot be seen for sure, it counts as arrived, without proof (reachability_find_doubt()).
 *
 * Over UDP a reflector is asked to send a datagram there (udp_dialback.h), and to get through is to
 * be seen to come to the port here (udp_arrivals.h). Where that cannot be seen, the verdict is
 * REACHABILITY_UNTOLD, with an error of status LOCAL.
 *
 * What counts, in this order:
 *   a stranger gets through      -> REACHABILITY_OPEN, at once
 *   a stranger does not          -> REACHABILITY_SHUT
 *   nobody but a known address   -> REACHABILITY_KNOWN when it gets through: a NAT with
 *   could try                       address-dependent filtering cannot be told apart;
 *                                   else REACHABILITY_SHUT
 *   nobody could try             -> REACHABILITY_UNTOLD
 *
 * A reflector that closes the connection without an answer is asked once more,
 * REACHABILITY_AGAIN_MS later: either it cannot dial, or the connection was cut.
 *
 * A stranger is an address that was never contacted from the port; not so a reflector whose other
 * address is the one that was asked. Nothing here blocks, except reachability_run().
 */
#ifndef NATPUNCH_CLIENT_REACHABILITY_H
#define NATPUNCH_CLIENT_REACHABILITY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/dialback.h"
#include "natpunch/base/error.h"
#include "natpunch/client/arrivals.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/os/resolve.h"
#include "natpunch/client/dialback_client.h"
#include "natpunch/client/udp_arrivals.h"
#include "natpunch/client/udp_dialback.h"

#define REACHABILITY_LANE_MAX  4
#define REACHABILITY_WATCH_MAX (2 * REACHABILITY_LANE_MAX + 2)
#define REACHABILITY_AGAIN_MS  500

enum reachability_verdict {
	REACHABILITY_PENDING,
	REACHABILITY_OPEN,
	REACHABILITY_KNOWN,
	REACHABILITY_SHUT,
	REACHABILITY_UNTOLD,
};

struct reachability_request {
	struct addr local; /* the two ends of the mapping */
	struct addr mapped;
	struct addr asked;                          /* the address of the reflector that saw it */
	const struct mapping_race_request *probe;   /* reflectors, family, local address, interface;
						     * not   copied, must outlive the reachability */
	size_t reflector;                           /* which of them that was */
	bool contacted[MAPPING_RACE_REFLECTOR_MAX]; /* which of them the port has spoken to */
	uint64_t timeout_ms;
	udp_arrivals_stray *stray; /* over UDP, what comes to our own port meanwhile; or NULL */
	void *context;
};

struct reachability_lane {
	bool used;
	bool resolving;
	bool verifying;
	bool waiting;      /* until `again_at`, to be asked once more */
	bool asked_again;  /* it was */
	bool stranger;     /* never contacted from the port */
	uint64_t again_at; /* clock_now_ms() */
	struct resolve resolve;
	struct dialback_client verify;
	struct udp_dialback datagrams; /* over UDP: what goes on with `verify` */
};

struct reachability {
	enum reachability_verdict verdict;
	struct dialback_result evidence; /* what it rests on; with UNTOLD nothing */
	struct dialback_result known;    /* how a known address fared; place 0: none tried */
	enum arrival evidence_arrival;   /* and did each come to this machine? */
	enum arrival known_arrival;
	bool stranger;      /* the evidence is a stranger's */
	bool unsupported;   /* UNTOLD: not one of them dials anybody, */
	bool silent;        /* as it seems: one or more never said a word */
	bool limited;       /* one was asked too often */
	struct error error; /* UNTOLD: why; status NETWORK or what it was */
	struct addr mapped;
	struct addr asked;
	const struct mapping_race_request *probe;
	uint64_t deadline;
	size_t answered;
	struct arrivals arrivals;         /* over TCP */
	struct udp_arrivals udp_arrivals; /* over UDP */
	struct reachability_lane lanes[REACHABILITY_LANE_MAX];
};

/* Starts. reachability_end() must follow in every case. */
void reachability_start(struct reachability *reachability,
	const struct reachability_request *request, uint64_t now);

/* Fills all entries for poll(2); returns when reachability_advance() wants to be called. */
uint64_t reachability_watch(
	const struct reachability *reachability, struct pollfd fds[REACHABILITY_WATCH_MAX]);

/* Goes on with what poll(2) found; fds NULL: nothing. */
enum reachability_verdict reachability_advance(
	struct reachability *reachability, const struct pollfd *fds, uint64_t now);

/* Closes what is open; twice is once. The verdict and what it rests on stay. */
void reachability_end(struct reachability *reachability);

/* All of it, blocking. */
enum reachability_verdict reachability_run(
	struct reachability *reachability, const struct reachability_request *request);

/* Was the dial-back answered, though not by this machine? */
bool reachability_is_elsewhere(const struct dialback_result *result, enum arrival arrival);

/*
 * OPEN or KNOWN: is it proved that this machine was reached? Returns true, with why in `out`, when
 * it is not.
 */
bool reachability_find_doubt(const struct reachability *reachability, char out[ARRIVALS_WHY_SIZE]);

/* The same, as a warning, if there is a doubt. */
void reachability_log_doubt(const struct reachability *reachability);

/*
 * SHUT, as an error of status UNREACHABLE: who dialled and how it went. For the hint it looks up
 * which program listens on the local port of the mapping.
 */
void reachability_explain(const struct reachability *reachability, const struct mapping *mapping,
	struct error *error);

#endif
