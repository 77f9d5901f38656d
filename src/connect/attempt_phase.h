/*
 * attempt_phase.h - the memory of an attempt, and what its phases have in common: a phase is a row
 * of three functions, and ends in one of these ways. attempt.c says which phase follows which.
 *
 *   attempt_find.c    from the reflector's address to home's: PAUSE, CONNECT, NONCE, ASK, UNHELD
 *   attempt_punch.c   the direct ways: PUNCH, SAMPLE, TELL, HEAR, PUNCH_AGAIN
 *   attempt_relay.c   the way through the reflector: WAIT, RELAY
 *
 * Never blocks. Calls only what POSIX has.
 */
#ifndef NATPUNCH_CONNECT_ATTEMPT_PHASE_H
#define NATPUNCH_CONNECT_ATTEMPT_PHASE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connect/nearby.h"
#include "connect/punch_port.h"
#include "connect/reflector_session.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/port_sampler.h"
#include "natpunch/client/punch.h"
#include "natpunch/client/reflector_call.h"
#include "natpunch/connect/times.h"
#include "natpunch/proto/nat64.h"
#include "natpunch/proto/port_prediction.h"

#define ATTEMPT_OWN_MAX PORT_PREDICTION_CANDIDATES /* descriptors that a phase watches */

enum attempt_state {
	ATTEMPT_IDLE,
	ATTEMPT_CALLING, /* it connects to the reflector */
	ATTEMPT_ASKING,  /* the reflector has not answered yet */
	ATTEMPT_BUSY,    /* the reflector has answered */
	ATTEMPT_UNHELD,  /* home is not held: its last address waits for attempt_try() */
	ATTEMPT_WAITING, /* no direct way so far; a relay is offered, and home may still connect */
	ATTEMPT_OPEN,    /* attempt_take() */
	ATTEMPT_SILENT,  /* nothing was heard; a packet may have been lost: `error` */
	ATTEMPT_VAIN,    /* this address does not lead home: `error` */
	ATTEMPT_FAILED,  /* nor does another one of the family: `error` */
};

struct attempt_config {
	struct addr reflector;   /* where to connect to */
	enum addr_family family; /* that the reflector sees us in: IPv4 behind a NAT64 */
	struct nat64_prefix nat64;
	const struct key *key;
	const struct initiator_times *times;
	bool puts_off; /* an address that is not held waits: another reflector may hold home */
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
	struct punch_port port; /* that all SYNs leave from, and home connects to */
	struct addr home;       /* as the reflector knows it; ADDR_NONE: not in our family */
	struct addr target;     /* the same, to connect to */
	uint32_t age;           /* of what it knows, in seconds */
	bool held;              /* home is there to be told */
	bool can_predict; /* what a second try takes: home is there to be told, two addresses */
	int connection;   /* to home, once it is established; or -1 */
	int problem;      /* of the last try that failed; 0: none did */
	struct punch punches[PORT_PREDICTION_CANDIDATES];
	size_t punch_count;   /* that are in use */
	struct nearby nearby; /* home's own addresses, where we are seen where it is */
	struct port_sampler sampler;
	struct port_prediction ours, theirs;
};

/* How a phase ended. From END_OPEN on the attempt ends as well, except after END_LATE. */
enum phase_end {
	END_STAYS,  /* it has not ended */
	END_DONE,   /* the next phase has what it needs */
	END_VAIN,   /* there is no direct way this time; `error` is not set */
	END_OPEN,   /* `connection` is the one to home */
	END_LATE,   /* our question came too late or was lost: the attempt begins again */
	END_SILENT, /* nothing came from this address of the reflector */
	END_NEXT,   /* this address does not lead home */
	END_FAILED  /* nor does another one of the same family */
};

struct attempt_phase {
	enum phase_end (*begin)(struct attempt *in);

	/* Sets those of ATTEMPT_OWN_MAX entries that it waits for; the others have fd -1. */
	void (*watch)(const struct attempt *in, struct pollfd *own);

	/* After each event, and when in->due has come. */
	enum phase_end (*step)(struct attempt *in, const struct pollfd *own);
};

/* What follows from an answer; REFLECTOR_ANSWER_NONE: none came in time. */
typedef enum phase_end judge_answer(struct attempt *in, enum reflector_answer answer);

/* Sends in->session.question, and sets in->due `patience_ms` from now. Judges a failure at once. */
enum phase_end attempt_phase_ask(struct attempt *in, uint32_t patience_ms, judge_answer *judge);

/*
 * Reads the answer and judges it. With `prediction` it is home's that is waited for. An answer that
 * brings a new nonce has the question sent again, with the deadline put off.
 */
enum phase_end attempt_phase_hear(struct attempt *in, const struct pollfd *own,
	struct port_prediction *prediction, judge_answer *judge);

/* Watches the connection to the reflector. */
void attempt_phase_watch_stream(const struct attempt *in, struct pollfd *own);

/* Returns what to connect to, to reach an address that the reflector names: by a NAT64 another. */
struct addr attempt_phase_reach(const struct attempt *in, const struct addr *addr);

/* Sets in->error where the reflector is the cause; returns `end`. */
enum phase_end attempt_phase_stop(struct attempt *in, enum phase_end end, enum exit_status status,
	const char *what, const char *why);

/* Sets in->error where home is known, in our family or the other, and nothing leads there. */
enum phase_end attempt_phase_fail(struct attempt *in, const char *why);

/* Why the last punch failed. */
const char *attempt_phase_why(const struct attempt *in);

#endif
