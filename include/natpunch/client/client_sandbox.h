/*
 * client_sandbox.h - what a command gives up that asks reflectors: probe, check, lookup,
 * connect.
 *
 * It opens sockets of many kinds again and again, so it keeps the capabilities that its methods
 * need, and what those sockets take. What it cannot do by itself any more, running the hook and the
 * command, and looking up names with whatever a C library does for that, a launcher does for it
 * (launcher.h), which is there when there is a name, a hook or a command. The launcher is a copy of
 * the process as it was: so it is begun before any key is read.
 *
 * No other process can be looked into any more. Who holds the local port is asked before, where it
 * may have to be said (client_sandbox_find_owner()).
 */
#ifndef NATPUNCH_CLIENT_CLIENT_SANDBOX_H
#define NATPUNCH_CLIENT_CLIENT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/home/handover.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/hook.h"
#include "natpunch/os/launcher.h"
#include "natpunch/base/host_port.h"
#include "natpunch/os/resolve_task.h"

struct mapping_race_request;

enum client_sandbox_stay {
	CLIENT_SANDBOX_FROM_ANY_PORT, /* lookup, connect: no capability, no file */
	CLIENT_SANDBOX_ONCE,          /* probe, check: from a port that somebody else may hold */
	CLIENT_SANDBOX_KEEPS,         /* probe -k: for years */
};

struct client_sandbox_plan {
	enum client_sandbox_stay stay;
	const struct host_port *reflectors; /* that it asks */
	size_t reflector_count;
	struct hook *hook;         /* NULL: there is none */
	struct handover *handover; /* likewise */
	const char *changed_file;  /* the FILE of -c, or NULL */
	bool taps;                 /* it looks at what comes to a port (tap.h) */
	bool secret;               /* keys are held */
};

struct client_sandbox {
	struct launcher launcher;
	struct resolve_task task;
	struct resolve_helper resolver; /* for who looks up, once it is open */
	struct port_owner owner; /* of the local port, when client_sandbox_find_owner() found one */
};

/*
 * Starts the launcher if there may be something for it to do, and has hook and handover, which are
 * initialised, use it. All three stay where they are. Returns 0, or -1 with *error filled; who does
 * not stay goes on without a launcher, and is told when it would be needed.
 */
int client_sandbox_open(struct client_sandbox *confinement, const struct client_sandbox_plan *asker,
	struct error *error);

/*
 * Who holds the local port? For confinement->owner, and for the request. It takes a look at every
 * process when somebody does; so not `always`, but for who may not get at the port beside that one.
 */
void client_sandbox_find_owner(
	struct client_sandbox *confinement, struct mapping_race_request *request, bool always);

/*
 * Gives up the rest. What this kernel lacks is told at -v and passed over; what it refuses, with a
 * warning. Returns 0, or -1 with *error filled.
 */
int client_sandbox_enter(const struct client_sandbox_plan *asker, struct error *error);

/* Ends the launcher. One that was opened must be closed, whatever came of it. */
void client_sandbox_close(struct client_sandbox *confinement);

#endif
