/*
 * reflector_sandbox.h - confines a reflector, which answers everybody.
 *
 * In two steps: between them the user who will read the keys again on SIGHUP reads them. Both do
 * nothing without config->confine. Start threads after the second step: see sandbox.h.
 */
#ifndef NATPUNCH_REFLECTOR_REFLECTOR_SANDBOX_H
#define NATPUNCH_REFLECTOR_REFLECTOR_SANDBOX_H

#include "natpunch/base/error.h"
#include "natpunch/reflector/config.h"

/*
 * When all sockets are open: becomes config->user, if any, and keeps of the capabilities only
 * CAP_NET_ADMIN, for the silent close. A process that stays root, and
 * reads files as root without owning them, can still do so. Returns 0, or -1 with *error filled.
 */
int reflector_sandbox_drop(const struct reflector_config *config, struct error *error);

/*
 * When all else is open: no_new_privs, limits, Landlock, seccomp. What this kernel lacks is logged
 * at -v and left out; what it refuses is left out with a warning. Returns 0, or -1 with *error
 * filled (a bug).
 */
int reflector_sandbox_enter(const struct reflector_config *config, struct error *error);

#endif
