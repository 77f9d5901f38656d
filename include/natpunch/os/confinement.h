/*
 * confinement.h - sandbox.h and landlock.h, and what is said about it. $NATPUNCH_SANDBOX "off":
 * none of it, as what watches a program from within makes calls that no list has.
 */
#ifndef NATPUNCH_OS_CONFINEMENT_H
#define NATPUNCH_OS_CONFINEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/os/landlock.h"
#include "natpunch/os/sandbox.h"

/*
 * landlock_enter(). What this kernel lacks is told at -v and passed over; what it refuses, as some
 * containers do, with a warning.
 */
void confinement_of_files(const struct landlock_rule *rules, size_t count, bool signals);

/* The lists of one that is being confined; begin with all zero, so that the last is NULL. */
struct confinement_lists {
	const struct sandbox_call *all[SANDBOX_LISTS_MAX + 1];
	size_t count;
};

/* Adds one; there are never more than SANDBOX_LISTS_MAX, which is asserted. */
void confinement_add_calls(struct confinement_lists *lists, const struct sandbox_call *list);

/* The same for sandbox_enter(). Returns 0, or -1 with *error filled (a bug). */
int confinement_of_calls(const struct sandbox_call *const lists[], struct error *error);

#endif
