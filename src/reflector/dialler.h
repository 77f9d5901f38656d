/*
 * dialler.h - the reflector connects back to a client that asks for it (dialback.h).
 */
#ifndef NATPUNCH_REFLECTOR_DIALLER_H
#define NATPUNCH_REFLECTOR_DIALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "reflector/counters.h"
#include "natpunch/proto/dialback.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/sandbox.h"
#include "natpunch/base/rate_limit.h"
#include "reflector/alternate.h"
#include "natpunch/proto/stun.h"

extern const struct sandbox_call dialler_calls[]; /* beside those of sockets */

#define DIALLER_MAX         32 /* jobs at a time, */
#define DIALLER_SITE_MAX    4  /* so many of one site, */
#define DIALLER_RESERVE     8  /* and the last are for sites that have none */
#define DIALLER_RESERVE_ALL 16 /* of the burst of DIALLER_ALL */

/*
 * Eight at once, then one in 8 seconds; a site 16, then one in two; all together 32 at once, then
 * ten in a second.
 */
#define DIALLER_EACH ((struct rate_limit_rule){.interval_ms = 8000, .burst = 8})
#define DIALLER_SITE ((struct rate_limit_rule){.interval_ms = 2000, .burst = 16})
#define DIALLER_ALL  ((struct rate_limit_rule){.interval_ms = 100, .burst = 32})

struct dialler_call {
	int fd;       /* -1: not under way */
	bool through; /* connected */
};

struct dialler_job {
	bool busy;
	uint32_t generation; /* of the job's slot in the table: tells late events apart */
	struct loop_tag asker;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	uint64_t began;
	struct dialback_answer answer; /* as far as it is known */
	struct dialler_call calls[DIALBACK_RESULT_MAX];
};

struct dialler_config {
	bool off;                           /* nobody is dialled */
	const struct alternate *alternates; /* two, IPv4 and IPv6: where the other address is */
	const struct addr *listens;         /* what is listened on */
	size_t listen_count;
	struct counters *counters; /* or NULL */
};

/* A question, and the connection that it came over. */
struct dialler_question {
	struct loop_tag asker;
	const struct addr *peer;  /* the source: whom to dial */
	const struct addr *local; /* the address that was asked */
	const void *message;      /* whole, of class request and method DIAL */
	size_t size;
};

/* Takes an answer for that client, which may be gone by then. */
typedef void dialler_deliver(
	void *context, struct loop_tag asker, const void *data, size_t size, uint64_t now);

struct dialler {
	struct dialler_config config;
	struct loop *loop;
	uint8_t tag_kind;
	uint32_t busy;           /* how many jobs are */
	struct rate_limit rate;  /* of sources */
	struct rate_limit sites; /* the same, of their sites */
	struct dialler_job jobs[DIALLER_MAX];
	dialler_deliver *deliver;
	void *context;
	uint64_t dialled, refused; /* counters: calls made, questions refused by a rule */
};

/*
 * tag_kind marks the loop events that belong to dialler_event(). `deliver` takes each answer that
 * was not written at once; its client may be gone by then. What config points at stays
 * the caller's and must outlive the dialler.
 */
void dialler_open(struct dialler *dialler, const struct dialler_config *config, struct loop *loop,
	uint8_t tag_kind, dialler_deliver *deliver, void *context);
void dialler_close(struct dialler *dialler);

/*
 * Takes a question. Returns the size of an answer that was written at once into out, which has
 * room for DIALBACK_ANSWER_MAX bytes; or 0: it will be delivered.
 */
size_t dialler_answer(
	struct dialler *dialler, const struct dialler_question *question, void *out, uint64_t now);

/* Something happened to a call; an event of one that is gone is ignored. */
void dialler_event(struct dialler *dialler, struct loop_tag tag, uint64_t now);

/* When dialler_expire() has something to do next, or TIMER_NONE. */
uint64_t dialler_next(const struct dialler *dialler);
void dialler_expire(struct dialler *dialler, uint64_t now);

#endif
