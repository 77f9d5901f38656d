/*
 * asker_confinement.h - what a command gives up that asks reflectors: probe, check, lookup,
 * connect.
 *
 * It opens sockets of many kinds again and again, so it keeps the capabilities that its methods
 * need, and what those sockets take. What it cannot do by itself any more, running the hook and the
 * command, and looking up names with whatever a C library does for that, a launcher does for it
 * (launcher.h), which is there when there is a name, a hook or a command.
 *
 * Files and other processes are out of reach, but for who may have to say which process holds the
 * local port: Landlock hides that one, so probe and check, as long as they do not stay, are
 * without.
 */
#ifndef NATPUNCH_ASKER_CONFINEMENT_H
#define NATPUNCH_ASKER_CONFINEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/error.h"
#include "natpunch/handover.h"
#include "natpunch/hook.h"
#include "natpunch/launcher.h"
#include "natpunch/parse.h"
#include "natpunch/resolve_task.h"

enum asker_stay {
	ASKER_FROM_ANY_PORT, /* lookup, connect: no capability, no file */
	ASKER_ONCE,          /* probe, check: from a port of which the holder may be asked for */
	ASKER_KEEPS,         /* probe -k: for years; the holder was asked for before */
};

struct asker {
	enum asker_stay stay;
	const struct parse_host_port *reflectors; /* that it asks */
	size_t reflector_count;
	struct hook *hook;         /* NULL: there is none */
	struct handover *handover; /* likewise */
	const char *changed_file;  /* the FILE of -c, or NULL */
	bool secret;               /* keys are held */
};

struct asker_confinement {
	struct launcher launcher;
	struct resolve_task task;
	struct resolve_helper resolver; /* for who looks up, once it is open */
};

/*
 * Starts the launcher if there may be something for it to do, and has hook and handover, which are
 * initialised, use it. All three stay where they are. Returns 0, or -1 with *error filled.
 */
int asker_confinement_open(
	struct asker_confinement *confinement, const struct asker *asker, struct error *error);

/*
 * Gives up the rest. What this kernel lacks is told at -v and passed over. Returns 0, or -1 with
 * *error filled.
 */
int asker_confinement_enter(const struct asker *asker, struct error *error);

/* Ends the launcher. One that was opened must be closed, whatever came of it. */
void asker_confinement_close(struct asker_confinement *confinement);

#endif
