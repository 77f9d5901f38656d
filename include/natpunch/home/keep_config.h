/*
 * keep_config.h - what keep_run() (keep.h) is to keep, and whom it tells of it.
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

#define KEEP_INTERVAL_DEFAULT_MS 25000  /* some carriers forget a mapping after 30 s */
#define KEEP_VERIFY_OPEN_MS      600000 /* from a dial-back that got in to the next, */
#define KEEP_VERIFY_AGAIN_MS     60000  /* and from any other one */

struct keep_config {
	struct mapping_race_request probe; /* keep_run() sets its mode, hold_seconds and first */
	uint64_t interval_ms;
	bool verify;              /* report a mapping only after a reflector's dial-back got in */
	uint64_t verify_open_ms;  /* with `verify`: until the next dial-back, */
	uint64_t verify_again_ms; /* and after one that did not get in */
	const struct forward_options *forward; /* what to ask the router for; NULL: nothing */
	const struct key *key;                 /* of the name to keep registered, or NULL */
	/* On SIGHUP: reads *key again, and returns whether it has changed; or NULL. */
	bool (*reload_key)(void *context);
	struct hook *hook; /* keep_run() reaps and expires it */
	/* keep_run() reaps it, and gives it the connections of the listener and of initiators. */
	struct handover *handover;
	struct launcher *launcher;       /* the one that both use, or NULL */
	int listener;                    /* or -1 */
	struct udp_forward *udp_forward; /* has the port of a `shared` probe; or NULL */
	struct notify *notify;
	/* Called for every event, with the mapping (for HOOK_DOWN the last one). */
	void (*report)(
		void *context, enum hook_event event, const struct mapping_race_result *result);
	void *context;
};

#endif
