/*
 * keep_config.h - what keep_run() (keep.h) is to keep, and who hears of it.
 */
#ifndef NATPUNCH_HOME_KEEP_CONFIG_H
#define NATPUNCH_HOME_KEEP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/key.h"
#include "natpunch/client/forward.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/home/handover.h"
#include "natpunch/home/udp_forward.h"
#include "natpunch/os/hook.h"
#include "natpunch/os/launcher.h"
#include "natpunch/os/notify.h"

#define KEEP_INTERVAL_DEFAULT_MS 25000  /* under the 30 s after which some carriers forget */
#define KEEP_VERIFY_OPEN_MS      600000 /* between two dial-backs, */
#define KEEP_VERIFY_AGAIN_MS     60000  /* and while it is not reachable, or cannot be told */

struct keep_config {
	struct mapping_race_request
		probe; /* its mode, hold_seconds and first are set by keep_run() */
	uint64_t interval_ms;
	bool verify; /* a mapping is reported once a reflector's dial-back got through */
	uint64_t verify_open_ms;               /* with `verify`: until it is dialled again, */
	uint64_t verify_again_ms;              /* and when that did not get through */
	const struct forward_options *forward; /* what to ask the router for, or NULL */
	const struct key *key; /* the name to keep registered (its secret too), or NULL */
	/* SIGHUP: reads *key again, and returns whether it is another one now; or NULL. */
	bool (*reload_key)(void *context);
	struct hook *hook; /* reaped and expired here */
	/* Reaped here; gets what the listener accepts, and what initiators were let in by. */
	struct handover *handover;
	struct launcher *launcher; /* that both use, or NULL */
	int listener;              /* or -1 */
	struct udp_forward
		*udp_forward; /* advanced here: it has the port of a `shared` probe; or NULL */
	struct notify *notify;
	/* Called for every event with the mapping in question (for HOOK_DOWN the last one). */
	void (*report)(
		void *context, enum hook_event event, const struct mapping_race_result *result);
	void *context;
};

#endif
