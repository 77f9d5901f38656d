/*
 * confinement.h - sandbox.h and landlock.h, and what is said about it. $NATPUNCH_SANDBOX "off":
 * none of it, as what watches a program from within makes calls that no list has.
 */
#ifndef NATPUNCH_CONFINEMENT_H
#define NATPUNCH_CONFINEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/error.h"
#include "natpunch/landlock.h"
#include "natpunch/sandbox.h"

/*
 * landlock_enter(). What this kernel lacks is told at -v and passed over; what it refuses, as some
 * containers do, with a warning.
 */
void confinement_of_files(const struct landlock_rule *rules, size_t count, bool signals);

/* The same for sandbox_enter(). Returns 0, or -1 with *error filled (a bug). */
int confinement_of_calls(const struct sandbox_call *const lists[], struct error *error);

#endif
