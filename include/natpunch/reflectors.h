/*
 * reflectors.h - which reflectors a command asks: those of -r, else those of $NATPUNCH_REFLECTOR,
 * else public STUN servers.
 */
#ifndef NATPUNCH_REFLECTORS_H
#define NATPUNCH_REFLECTORS_H

#include "natpunch/error.h"
#include "natpunch/probe.h"

/* Adds what -r names. Returns 0, or -1 with *error filled: no host and port, or too many. */
int reflectors_add(struct probe_request *request, const char *text, struct error *error);

/* Adds those of the environment, if none was named; there may still be none then. */
int reflectors_add_from_environment(struct probe_request *request, struct error *error);

/*
 * After the last option: where none was named those of the environment, else the built-in list in
 * random order, of which two must agree (request->must_agree).
 */
int reflectors_settle(struct probe_request *request, struct error *error);

#endif
