/*
 * confinement.h - confines by sandbox.h and landlock.h, and logs how. With $NATPUNCH_SANDBOX "off"
 * it does nothing, for tools that make system calls from within the program.
 */
#ifndef NATPUNCH_OS_CONFINEMENT_H
#define NATPUNCH_OS_CONFINEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/os/landlock.h"
#include "natpunch/os/sandbox.h"

/*
 * Calls landlock_enter(). What this kernel lacks is logged at -v; what it refuses, as in some
 * containers, as a warning. Neither is an error.
 */
void confinement_of_files(const struct landlock_rule *rules, size_t count, bool signals);

/* The lists to confine by; begin with all zero, so that the last is NULL. */
struct confinement_lists {
	const struct sandbox_call *all[SANDBOX_LISTS_MAX + 1];
	size_t count;
};

/* Adds one; there are never more than SANDBOX_LISTS_MAX, which is asserted. */
void confinement_add_calls(struct confinement_lists *lists, const struct sandbox_call *list);

/* The same for sandbox_enter(). Returns 0, or -1 with *error filled (a bug). */
int confinement_of_calls(const struct sandbox_call *const lists[], struct error *error);

#endif
