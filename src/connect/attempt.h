/*
 * attempt.h - the way to home by one address of the reflector: home is asked for there, then
 * punched to, then relayed to.
 *
 *   IDLE --start--> CALLING --> ASKING --> BUSY --> OPEN
 *                      |          |  \      |  \--> WAITING --relay--> BUSY
 *                      |          |   UNHELD --try--> BUSY
 *                      |__________|_________|_____> SILENT, VAIN, FAILED
 *
 * A state machine that is handed events and the time, and never blocks. Calls nothing that POSIX
 * does not have.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_H
#define NATPUNCH_CONNECT_ATTEMPT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "connect/nearby.h"
#include "natpunch/client/reflector_call.h"
#include "connect/reflector_session.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/port_sampler.h"
#include "natpunch/client/punch.h"
#include "natpunch/connect/times.h"
#include "natpunch/proto/nat64.h"
#include "natpunch/proto/port_prediction.h"

/* What a phase has of its own; with it, the listener and home's own addresses. */
#define ATTEMPT_OWN_MAX   PORT_PREDICTION_CANDIDATES
#define ATTEMPT_WATCH_MAX (1 + NEARBY_MAX + ATTEMPT_OWN_MAX)

enum attempt_state {
	ATTEMPT_IDLE,
	ATTEMPT_CALLING, /* no handshake with the reflector yet */
	ATTEMPT_ASKING,  /* it has not answered yet */
	ATTEMPT_BUSY,    /* it has */
	ATTEMPT_UNHELD,  /* it says where home was last; that is put off */
	ATTEMPT_WAITING, /* no direct way was found; a relay is offered, and home may still come */
	ATTEMPT_OPEN,    /* attempt_take() */
	ATTEMPT_SILENT,  /* nothing was heard, and a packet may have been lost: `error` */
	ATTEMPT_VAIN,    /* this address will not do: `error` */
	ATTEMPT_FAILED,  /* nor will another one of the family: `error` */
};

struct attempt_config {
	struct addr reflector;   /* where to connect to */
	enum addr_family family; /* that the reflector sees us in: IPv4 behind a NAT64 */
	struct nat64_prefix nat64;
	const struct key *key;
	const struct initiator_times *times;
	bool puts_off; /* a record that is not held: another reflector may hold home */
};

struct attempt {
	enum attempt_state state;
	struct attempt_config config;
	struct error error;
	unsigned phase; /* of attempt.c */
	unsigned tries; /* that our question came too late, or was lost */
	uint64_t now;
	uint64_t due;      /* of the phase; punches have timers of their own */
	uint32_t patience; /* how long an answer is waited for */
	uint64_t give_up;  /* of a phase whose timers are several */
	struct reflector_call call;
	uint64_t called, round_trip; /* the reflector, and how long it took to be there */
	uint64_t punched;            /* when the first try began */
	struct reflector_session session;
	struct addr local;  /* the port that everything leaves from */
	struct addr home;   /* as the reflector knows it; ADDR_NONE: not in our family */
	struct addr target; /* the same, to connect to */
	uint32_t age;       /* of what it knows, in seconds */
	bool held;          /* home is there to be told */
	bool can_predict;   /* what a second try takes: home is there to be told, two addresses */
	int listener;       /* on our port, for home's connection; or -1 */
	int connection;     /* to home, once it is established; or -1 */
	int problem;        /* of the last try that failed; 0: none did */
	struct punch punches[PORT_PREDICTION_CANDIDATES];
	size_t punch_count;   /* that are in use */
	struct nearby nearby; /* home's own addresses, where we are seen where it is */
	struct port_sampler sampler;
	struct port_prediction ours, theirs;
};

/* IDLE. The key and the times must outlive it. */
void attempt_init(struct attempt *attempt, const struct attempt_config *config);

/* From IDLE. *attempt stays where it is until attempt_end(). */
void attempt_start(struct attempt *attempt, uint64_t now);

/* Fills all entries for poll(2), and returns when attempt_advance() is wanted at the latest. */
uint64_t attempt_watch(const struct attempt *attempt, struct pollfd fds[ATTEMPT_WATCH_MAX]);
void attempt_advance(
	struct attempt *attempt, const struct pollfd fds[ATTEMPT_WATCH_MAX], uint64_t now);

/*
 * When a punch that has no connection is worth so many further attempts at the same address; from 1
 * on. TIMER_NONE: they would be of no use, or in its way.
 */
uint64_t attempt_company_due(const struct attempt *attempt, unsigned number);

/* From UNHELD: tries the address where home was last. */
void attempt_try(struct attempt *attempt, uint64_t now);

/* From WAITING. */
void attempt_relay(struct attempt *attempt, uint64_t now);

/* The time for the whole is up: FAILED or SILENT, if it has not ended. */
void attempt_expire(struct attempt *attempt);

/* OPEN: hands out the connection, the caller's from now on. */
int attempt_take(struct attempt *attempt);

/* Closes what is open; leaves IDLE. */
void attempt_end(struct attempt *attempt);

#endif
