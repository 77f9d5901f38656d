#include "natpunch/client/client_sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "natpunch/base/addr.h"
#include "natpunch/os/confinement.h"
#include "natpunch/os/file.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/netwatch.h"
#include "natpunch/os/packet.h"
#include "natpunch/os/privileges.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/os/tap.h"
#include "natpunch/os/nft_snat.h"

/* Standard output, by which stdio finds out whether it is a terminal. */
static const struct sandbox_call output_calls[] = {
	SANDBOX_WHEN(ioctl, 1, SANDBOX_WHOLE, TCGETS),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_WHOLE, TIOCGWINSZ),
	SANDBOX_END,
};

enum task {
	TASK_RESOLVE,
	TASK_HOOK,
	TASK_HANDOVER,
	TASK_COUNT,
};

static bool names_a_host(const struct client_sandbox_plan *asker)
{
	struct addr addr;

	for (size_t i = 0; i < asker->reflector_count; i++)
		if (addr_parse_ip(&addr, asker->reflectors[i].host) != 0)
			return true;
	return false;
}

static int start_launcher(
	struct client_sandbox *confinement, const struct client_sandbox_plan *asker)
{
	struct launcher_task tasks[TASK_COUNT] = {
		[TASK_RESOLVE] = resolve_task_row(&confinement->task)};

	if (asker->hook != NULL)
		tasks[TASK_HOOK] = hook_task(asker->hook);
	if (asker->handover != NULL)
		tasks[TASK_HANDOVER] = handover_task(asker->handover);
	return launcher_open(&confinement->launcher, tasks, TASK_COUNT);
}

int client_sandbox_open(struct client_sandbox *confinement, const struct client_sandbox_plan *asker,
	struct error *error)
{
	confinement->launcher = LAUNCHER_NONE;
	confinement->owner = (struct port_owner){.listens = false};
	confinement->task = (struct resolve_task){.launcher = &confinement->launcher,
		.asker = getpid(),
		.task = TASK_RESOLVE,
		.leaves = asker->stay != CLIENT_SANDBOX_KEEPS};
	confinement->resolver = resolve_task_helper(&confinement->task);
	if (asker->hook == NULL && asker->handover == NULL && !names_a_host(asker))
		return 0;
	if (start_launcher(confinement, asker) != 0 && asker->stay == CLIENT_SANDBOX_KEEPS)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot start a helper process: %s",
			strerror(errno));
	if (asker->hook != NULL) {
		asker->hook->launcher = &confinement->launcher;
		asker->hook->task = TASK_HOOK;
	}
	if (asker->handover != NULL) {
		asker->handover->launcher = &confinement->launcher;
		asker->handover->task = TASK_HANDOVER;
	}
	return 0;
}

void client_sandbox_close(struct client_sandbox *confinement)
{
	launcher_close(&confinement->launcher);
}

void client_sandbox_find_owner(
	struct client_sandbox *confinement, struct mapping_race_request *request, bool always)
{
	request->owner = &confinement->owner;
	if (!always && request->method != &borrow_method_bind &&
		privileges_has(PRIVILEGES_NET_ADMIN | PRIVILEGES_NET_RAW))
		return;
	if (port_owner_find(request->protocol, (enum addr_family)request->local.family,
		    request->local.port, &confinement->owner) != 0)
		confinement->owner = (struct port_owner){.listens = false};
}

static void give_up_privileges(const struct client_sandbox_plan *asker)
{
	uint64_t keep = PRIVILEGES_NONE;

	if (asker->stay != CLIENT_SANDBOX_FROM_ANY_PORT)
		keep = PRIVILEGES_PORT;
	/* A hook may become another user. */
	if (asker->hook != NULL)
		keep |= PRIVILEGES_KILL;
	privileges_keep(keep | privileges_for_file(keep, asker->changed_file, true));
	privileges_lock();
	if (asker->secret)
		privileges_hide();
}

static void forbid_files(const struct client_sandbox_plan *asker)
{
	bool from_port = asker->stay != CLIENT_SANDBOX_FROM_ANY_PORT;
	bool kills = asker->stay == CLIENT_SANDBOX_KEEPS || asker->hook != NULL;
	const struct landlock_rule rules[] = {
		/* The handover's spare descriptor; and all of /proc: who holds the port. */
		{asker->handover != NULL ? "/dev/null" : NULL, LANDLOCK_READ_FILE},
		{from_port ? "/proc/net" : NULL, LANDLOCK_LIST},
		{asker->changed_file, LANDLOCK_WRITE},
	};

	confinement_of_files(rules, sizeof(rules) / sizeof(rules[0]), kills);
}

/* For who speaks from a port of its choice. */
static void add_port(struct confinement_lists *lists, const struct client_sandbox_plan *asker)
{
	confinement_add_calls(lists, file_read_calls);
	confinement_add_calls(lists, holder_calls);
	confinement_add_calls(lists, packet_calls);
	confinement_add_calls(lists, signals_calls);
	confinement_add_calls(lists, translation_calls);
	if (asker->hook != NULL || asker->handover != NULL)
		confinement_add_calls(lists, hook_calls);
	if (asker->stay == CLIENT_SANDBOX_KEEPS) {
		confinement_add_calls(lists, netwatch_calls);
		confinement_add_calls(lists, resolve_kill_calls);
	}
	if (asker->taps)
		confinement_add_calls(lists, tap_calls);
	if (asker->changed_file != NULL) {
		confinement_add_calls(lists, file_write_calls);
		confinement_add_calls(lists, file_lock_calls);
	}
}

int client_sandbox_enter(const struct client_sandbox_plan *asker, struct error *error)
{
	struct confinement_lists lists = {.count = 0};

	confinement_add_calls(&lists, sandbox_basic_calls);
	confinement_add_calls(&lists, output_calls);
	confinement_add_calls(&lists, file_status_calls);
	confinement_add_calls(&lists, launcher_calls);
	confinement_add_calls(&lists, resolve_calls);
	confinement_add_calls(&lists, socket_calls);
	confinement_add_calls(&lists, socket_interface_calls);
	if (asker->stay != CLIENT_SANDBOX_FROM_ANY_PORT)
		add_port(&lists, asker);
	give_up_privileges(asker);
	forbid_files(asker);
	return confinement_of_calls(lists.all, error);
}
