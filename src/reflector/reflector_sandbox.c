/*
 * Threat: an attacker takes over the process by a packet that we misread. He then has its sockets
 * and its memory. Four independent means bound what else he can reach:
 *
 *   user, capabilities   all are dropped except CAP_NET_ADMIN; with -U root as well
 *   Landlock             of all files, those beside the key file can be read, and those beside the
 *                        state file written
 *   seccomp              no program is run, no other process looked into, no socket opened but TCP
 *                        and UDP, no option of one set except those that are used, and no process
 *                        started but by -S
 *   limits               no core file, no new rights, memory that others cannot look into
 *
 * CAP_NET_ADMIN is kept for TCP_REPAIR. Its other uses need a netlink socket, which can no longer
 * be opened, or an ioctl or a socket option, of which only a few are allowed; the socket that
 * changes this host's connection tracking belongs to another process (conntrack.h).
 *
 * There is no limit on the size of files: standard error may be one.
 */
#include "reflector/reflector_sandbox.h"

#include <limits.h>
#include <stdlib.h>

#include "natpunch/os/confinement.h"
#include "natpunch/os/file.h"
#include "natpunch/os/flow.h"
#include "natpunch/os/loop.h"
#include "reflector/registry_file.h"
#include "natpunch/os/socket_linux.h"
#include "reflector/dialler.h"
#include "reflector/relay.h"

#define KEPT PRIVILEGES_NET_ADMIN

/* What it takes to reach the files as now. */
static uint64_t find_file_privileges(const struct reflector_config *config)
{
	return privileges_for_file(KEPT, config->keys_path, false) |
	       privileges_for_file(KEPT, config->state_path, true);
}

int reflector_sandbox_drop(const struct reflector_config *config, struct error *error)
{
	if (!config->confine)
		return 0;
	if (config->has_user)
		return privileges_become(&config->user, KEPT, error);
	privileges_keep(KEPT | find_file_privileges(config));
	return 0;
}

/* ---- files -------------------------------------------------------------------------------- */

static void forbid_files(const struct reflector_config *config)
{
	char target[PATH_MAX];
	const char *keys = config->keys_path;
	const struct landlock_rule rules[] = {
		{"/dev/null", LANDLOCK_READ_FILE}, /* the spare descriptor */
		{keys, LANDLOCK_READ},
		/* Where a symbolic link leads now, also to another directory. */
		{keys != NULL ? realpath(keys, target) : NULL, LANDLOCK_READ},
		{config->state_path, LANDLOCK_WRITE},
	};

	confinement_of_files(rules, sizeof(rules) / sizeof(rules[0]), false);
}

/* ---- system calls ------------------------------------------------------------------------- */

static int forbid_calls(const struct reflector_config *config, struct error *error)
{
	struct confinement_lists lists = {.count = 0};

	confinement_add_calls(&lists, sandbox_basic_calls);
	confinement_add_calls(&lists, loop_calls);
	confinement_add_calls(&lists, socket_calls);
	confinement_add_calls(&lists, file_read_calls);
	confinement_add_calls(&lists, file_status_calls);
	confinement_add_calls(&lists, socket_forget_calls);
	if (!config->no_dial)
		confinement_add_calls(&lists, dialler_calls);
	if (config->relay) {
		confinement_add_calls(&lists, flow_calls);
		confinement_add_calls(&lists, relay_calls);
	}
	if (config->jobs > 1)
		confinement_add_calls(&lists, sandbox_thread_calls);
	if (config->state_path != NULL) {
		confinement_add_calls(&lists, sandbox_fork_calls);
		confinement_add_calls(&lists, file_write_calls);
		confinement_add_calls(&lists, registry_file_calls);
	}
	return confinement_of_calls(lists.all, error);
}

int reflector_sandbox_enter(const struct reflector_config *config, struct error *error)
{
	if (!config->confine)
		return 0;
	privileges_lock();
	if (config->keys_path != NULL)
		privileges_hide();
	if (config->state_path == NULL && config->jobs <= 1)
		privileges_forbid_processes(); /* which would forbid threads as well */
	forbid_files(config);
	return forbid_calls(config, error);
}
