/*
 * keep.h - a mapping that lives: found, kept alive, watched, found again.
 *
 * One connection (or, over UDP and raw, one borrowed port) is held to one reflector. Every interval
 * the question is asked again over it: that is the keep-alive, sent from the home side as only
 * outbound packets are sure to refresh a mapping (RFC 4787 REQ-6), and its answer proves that the
 * mapping is still what it was. What makes it ask at once, or look for a new mapping:
 *
 *   - a link, an address or a route changed, or the machine slept: it asks, or begins anew from
 *     the new address;
 *   - no answer came in time (three times the kernel's retransmission timeout, 1 s to 10 s), or
 *     the connection was reset: a race over all reflectors;
 *   - the reflector closed the connection, as servers of strangers do: the same; their patience is
 *     learnt, and the next connection is made before this one ends;
 *   - no reflector answers: again, with backoff and jitter.
 *
 * With `verify` each new mapping is dialled from outside (verification.h) before it is reported,
 * and again every `verify_open_ms`: HOOK_UNREACHABLE when strangers do not get in, HOOK_UP when
 * they do again. A verdict that is not there leaves things as they are; it is asked for again soon.
 *
 * Invariants: what works is never given up because one reflector failed (a silent end leaves the
 * NAT's entry as it is, and other reflectors are asked first); each mapping is reported once.
 */
#ifndef NATPUNCH_HOME_KEEP_H
#define NATPUNCH_HOME_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/home/handover.h"
#include "natpunch/os/hook.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/os/notify.h"
#include "natpunch/client/mapping_race.h"

#define KEEP_INTERVAL_DEFAULT_MS 25000 /* under the 30 s after which some carriers forget */
#define KEEP_INTERVAL_MIN_MS     5000  /* what learning never goes below; -i may */
#define KEEP_ANSWER_MS           1000  /* how long an answer may take before it is doubted, */
#define KEEP_ANSWER_MAX_MS       10000 /* and where the way is long */
#define KEEP_SETTLE_MS           100   /* network changes come in bursts */
#define KEEP_BACKOFF_MAX_MS      60000
#define KEEP_VERIFY_OPEN_MS      600000 /* between two dial-backs, */
#define KEEP_VERIFY_AGAIN_MS     60000  /* and while it is not reachable, or cannot be told */
#define KEEP_DOWN_MS             180000 /* without any answer, and three intervals: it is down */

struct keep_config {
	struct mapping_race_request
		probe; /* its mode, hold_seconds and first are set by keep_run() */
	uint64_t interval_ms;
	bool verify; /* a mapping is reported once a reflector's dial-back got through */
	uint64_t verify_open_ms;  /* with `verify`: until it is dialled again, */
	uint64_t verify_again_ms; /* and when that did not get through */
	const struct key *key;    /* the name to keep registered (its secret too), or NULL */
	struct hook *hook;        /* reaped and expired here */
	/* Reaped here; gets what the listener accepts, and what initiators were let in by. */
	struct handover *handover;
	struct launcher *launcher; /* that both use, or NULL */
	int listener;              /* or -1 */
	struct notify *notify;
	/* Called for every event with the mapping in question (for HOOK_DOWN the last one). */
	void (*report)(
		void *context, enum hook_event event, const struct mapping_race_result *result);
	void *context;
};

/*
 * Runs until SIGTERM or SIGINT. Returns 0, or -1 with *error filled when this machine refuses
 * before there ever was a mapping, or when the launcher is gone: whoever watches over us is to
 * start us anew, with another one.
 */
int keep_run(const struct keep_config *config, struct error *error);

#endif
