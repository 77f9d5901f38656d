/*
 * probe_confinement.h - what `probe -k` gives up, as it stays for years.
 *
 * It opens sockets of many kinds again and again, so it keeps the capabilities that its methods
 * need, and what those sockets take. What it cannot do by itself any more, running the hook and the
 * command, and looking up names with whatever a C library does for that, a launcher does for it
 * (launcher.h). Nobody's process can be looked into any more; so who holds the local port is asked
 * before.
 */
#ifndef NATPUNCH_PROBE_CONFINEMENT_H
#define NATPUNCH_PROBE_CONFINEMENT_H

#include <stdbool.h>

#include "natpunch/error.h"
#include "natpunch/handover.h"
#include "natpunch/hook.h"
#include "natpunch/launcher.h"
#include "natpunch/resolve.h"

struct probe_confinement {
	struct launcher launcher;
	struct resolve_helper resolver; /* for a probe_request, once it is open */
};

/*
 * Starts the launcher, and has hook and handover, which are initialised, use it. All three stay
 * where they are. Returns 0, or -1 with *error filled.
 */
int probe_confinement_open(struct probe_confinement *confinement, struct hook *hook,
	struct handover *handover, struct error *error);

/*
 * Gives up the rest. `changed_file`: the FILE of -c, or NULL; `secret`: keys are held. What this
 * kernel lacks is told at -v and passed over. Returns 0, or -1 with *error filled.
 */
int probe_confinement_enter(const char *changed_file, bool secret, struct error *error);

/* Ends the launcher. */
void probe_confinement_close(struct probe_confinement *confinement);

#endif
