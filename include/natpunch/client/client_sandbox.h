/*
 * client_sandbox.h - confines a command that asks reflectors: probe, check, lookup, connect.
 *
 * Such a command opens sockets of many kinds again and again, so it keeps the capabilities that its
 * methods need, and the system calls for those sockets. A launcher (launcher.h) does three things
 * that it no longer can: it runs the hook, runs the caller's task, and looks up names, for which a
 * C library may need anything. The launcher starts when there is a name, a hook or a task. It is a
 * copy of the process, so it starts before a key is read.
 *
 * The command can no longer look into other processes. So client_sandbox_find_owner() finds the
 * owner of the local port beforehand, if it may have to be named, and another natpunch that keeps a
 * mapping of the port.
 */
#ifndef NATPUNCH_CLIENT_CLIENT_SANDBOX_H
#define NATPUNCH_CLIENT_CLIENT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/error.h"
#include "natpunch/client/reflector_list.h"
#include "natpunch/os/hook.h"
#include "natpunch/os/launcher.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/resolve_task.h"

struct mapping_race_request;

enum client_sandbox_stay {
	CLIENT_SANDBOX_FROM_ANY_PORT, /* lookup, connect: no capability, no file */
	CLIENT_SANDBOX_ONCE,          /* probe, check: from a port that somebody else may hold */
	CLIENT_SANDBOX_KEEPS,         /* probe -k: for years */
};

/* The launcher's rows. A caller with a task of its own starts it as CLIENT_SANDBOX_TASK_CALLER. */
enum client_sandbox_task {
	CLIENT_SANDBOX_TASK_RESOLVE,
	CLIENT_SANDBOX_TASK_HOOK,
	CLIENT_SANDBOX_TASK_CALLER,
	CLIENT_SANDBOX_TASK_COUNT,
};

struct client_sandbox_plan {
	enum client_sandbox_stay stay;
	const struct reflector_list *reflectors; /* that are asked */
	struct hook *hook;                       /* NULL: there is none */
	struct launcher_task caller_task; /* what else the launcher runs; run NULL: nothing */
	const char *caller_file;          /* a file that the caller reads besides, or NULL */
	const char *changed_file;         /* the FILE of -c, or NULL */
	const char *key_file;             /* one that is read again later, or NULL */
	bool taps;                        /* it looks at what comes to a port (tap.h) */
	bool marks;                       /* its sockets have a mark (socket_set_mark()) */
	bool secret;                      /* keys are held */
};

struct client_sandbox {
	struct launcher launcher;
	struct resolve_task task;
	struct resolve_helper resolver; /* looks names up, once the sandbox is open */
	struct port_owner owner; /* of the local port, when client_sandbox_find_owner() found one */
};

/*
 * Starts the launcher if there may be something for it to do, and makes plan->hook, which is
 * initialised, use it. The sandbox and the hook stay where they are, and so does the context of
 * the caller's task. Returns 0, or -1 with *error filled. A command that does not stay goes on
 * without a launcher, and fails when it needs one.
 */
int client_sandbox_open(struct client_sandbox *sandbox, const struct client_sandbox_plan *plan,
	struct error *error);

/*
 * Finds the owner of the local port, for sandbox->owner and for the request. This looks at every
 * process if the port has an owner. So unless `always`, it is done only for a command that cannot
 * speak from the port beside its owner. The keeper (port_owner.h) is looked for in every case.
 */
void client_sandbox_find_owner(
	struct client_sandbox *sandbox, struct mapping_race_request *request, bool always);

/*
 * Gives up the rest. What this kernel lacks is logged at -v and left out; what it refuses is left
 * out with a warning. Returns 0, or -1 with *error filled.
 */
int client_sandbox_enter(const struct client_sandbox_plan *plan, struct error *error);

/* Ends the launcher. Must follow client_sandbox_open(), also after a failure. */
void client_sandbox_close(struct client_sandbox *sandbox);

#endif
