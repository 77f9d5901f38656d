/*
 * reflector_list.h - which reflectors a command asks: those of -r, else those of
 * $NATPUNCH_REFLECTOR, else public STUN servers.
 */
#ifndef NATPUNCH_CLIENT_REFLECTOR_LIST_H
#define NATPUNCH_CLIENT_REFLECTOR_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/base/host_port.h"

#define REFLECTOR_LIST_MAX 16

/* All zero is an empty one. */
struct reflector_list {
	struct host_port all[REFLECTOR_LIST_MAX];
	size_t count;
	bool must_agree; /* servers of strangers: two must report the same address to be believed */
};

/* Adds what -r names. Returns 0, or -1 with *error filled: no host and port, or too many. */
int reflector_list_add(struct reflector_list *list, const char *text, struct error *error);

/* Adds those of the environment, if none was named; there may still be none then. */
int reflector_list_add_from_environment(struct reflector_list *list, struct error *error);

/*
 * After the last option: where none was named those of the environment, else the built-in list in
 * random order, of which two must agree (list->must_agree).
 */
int reflector_list_settle(struct reflector_list *list, struct error *error);

#endif
