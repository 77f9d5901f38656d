/*
 * reflector_list.h - which reflectors a command asks: those of -r, else those of
 * $NATPUNCH_REFLECTOR, else public STUN servers.
 */
#ifndef NATPUNCH_CLIENT_REFLECTOR_LIST_H
#define NATPUNCH_CLIENT_REFLECTOR_LIST_H

#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"

/* Adds what -r names. Returns 0, or -1 with *error filled: no host and port, or too many. */
int reflector_list_add(struct mapping_race_request *request, const char *text, struct error *error);

/* Adds those of the environment, if none was named; there may still be none then. */
int reflector_list_add_from_environment(struct mapping_race_request *request, struct error *error);

/*
 * After the last option: where none was named those of the environment, else the built-in list in
 * random order, of which two must agree (request->must_agree).
 */
int reflector_list_settle(struct mapping_race_request *request, struct error *error);

#endif
