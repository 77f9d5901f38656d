/*
 * reflector_sandbox.h - what a reflector gives up, as it talks with everybody.
 *
 * In two steps, as names are read in between by who will read them again on SIGHUP. Both do nothing
 * without config->confine. Who starts threads does so after the second one: see sandbox.h.
 */
#ifndef NATPUNCH_REFLECTOR_REFLECTOR_SANDBOX_H
#define NATPUNCH_REFLECTOR_REFLECTOR_SANDBOX_H

#include "natpunch/base/error.h"
#include "natpunch/reflector/config.h"

/*
 * When all sockets are open: becomes config->user, if any, and keeps of the capabilities only
 * CAP_NET_ADMIN, for the silent close. Root who stays root and reads files by being root, and not
 * by owning them, goes on to do so. Returns 0, or -1 with *error filled.
 */
int reflector_sandbox_drop(const struct reflector_config *config, struct error *error);

/*
 * When all else is open: no_new_privs, limits, Landlock, seccomp. What this kernel lacks is told at
 * -v and passed over; what it refuses, with a warning. Returns 0, or -1 with *error filled (a bug).
 */
int reflector_sandbox_enter(const struct reflector_config *config, struct error *error);

#endif
