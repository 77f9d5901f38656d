/*
 * mapping_report.h - what is known of the mapping in one family, and what home says of it: to the
 * caller of keep_run(), to the service manager and in the log.
 *
 * It decides what is said and when, and does nothing else; mapping_report.c lists its states. Two
 * families know each other by their reports alone, so that neither says what the other one shows.
 */
#ifndef NATPUNCH_HOME_MAPPING_REPORT_H
#define NATPUNCH_HOME_MAPPING_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "home/standby.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/home/keep_config.h"

#define MAPPING_REPORT_STATUS_SIZE 256

enum mapping_report_state {
	MAPPING_REPORT_NONE, /* nothing was reported yet */
	MAPPING_REPORT_UP,
	MAPPING_REPORT_UNREACHABLE,
	MAPPING_REPORT_DOWN,
};

struct mapping_report {
	const struct keep_config *config;
	const struct standby *standby;      /* counts the reflectors */
	const struct mapping_report *other; /* that of the other family, or NULL */
	enum addr_family family;            /* ADDR_NONE: both */

	enum mapping_report_state state;
	struct mapping_race_result known; /* the mapping that was seen last; `winner` is not used */
	bool has_known;

	unsigned races_lost; /* in a row */
	bool spoke;          /* the last race had an address to ask, and a way to it */
	bool warned;         /* that there is no mapping, or no answer */
	bool refused;        /* there is no mapping, as this machine refuses: `error` says why */
	struct error error;

	size_t known_at; /* that `status` says: the name is registered at so many reflectors, */
	size_t known_of; /* of so many */
	char status[MAPPING_REPORT_STATUS_SIZE]; /* for the service manager; "": nothing to say */
};

/* All that the arguments point to must outlive it. */
void mapping_report_init(struct mapping_report *report, const struct keep_config *config,
	enum addr_family family, const struct standby *standby, const struct mapping_report *other);

/* Is this a family that this host or the reflectors lack, while the other one has a mapping? */
bool mapping_report_is_absent(const struct mapping_report *report);

/* Can this family have no mapping? */
bool mapping_report_is_hopeless(const struct mapping_report *report);

/* Was `known` reported, as UP or UNREACHABLE? */
bool mapping_report_stands(const struct mapping_report *report);

/* Reports the event, with `known`, to the config's report(). */
void mapping_report_tell(struct mapping_report *report, enum hook_event event);

/* Brings `status` up to date, if the name is registered at another number of reflectors now. */
void mapping_report_count(struct mapping_report *report);

/* A mapping was seen; `same`: it is `known` still. Says so if its loss was said. */
void mapping_report_take_answer(struct mapping_report *report, bool same);

/* A race that looked for a mapping was lost: warns of it, unless there is a reason not to. */
void mapping_report_take_loss(struct mapping_report *report, const struct error *error);

/* `second` is another reflector's view of `known`: warns if it differs. */
void mapping_report_compare(
	const struct mapping_report *report, const struct mapping_race_result *second);

#endif
