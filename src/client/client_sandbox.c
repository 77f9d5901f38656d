#include "natpunch/client/client_sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
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
#include "natpunch/os/resolve.h"
#include "natpunch/os/route.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/os/tap.h"
#include "natpunch/os/nft_snat.h"

/* stdio asks whether standard output is a terminal. */
static const struct sandbox_call output_calls[] = {
	SANDBOX_WHEN(ioctl, 1, SANDBOX_WHOLE, TCGETS),
	SANDBOX_WHEN(ioctl, 1, SANDBOX_WHOLE, TIOCGWINSZ),
	SANDBOX_END,
};

static bool names_a_host(const struct client_sandbox_plan *plan)
{
	for (size_t i = 0; i < plan->reflectors->count; i++)
		if (resolve_takes_child(&plan->reflectors->all[i], ADDR_NONE))
			return true;
	return false;
}

static int start_launcher(struct client_sandbox *sandbox, const struct client_sandbox_plan *plan)
{
	struct launcher_task tasks[CLIENT_SANDBOX_TASK_COUNT] = {
		[CLIENT_SANDBOX_TASK_RESOLVE] = resolve_task_row(&sandbox->task),
		[CLIENT_SANDBOX_TASK_CALLER] = plan->caller_task,
	};

	if (plan->hook != NULL)
		tasks[CLIENT_SANDBOX_TASK_HOOK] = hook_task(plan->hook);
	return launcher_open(&sandbox->launcher, tasks, CLIENT_SANDBOX_TASK_COUNT);
}

int client_sandbox_open(
	struct client_sandbox *sandbox, const struct client_sandbox_plan *plan, struct error *error)
{
	sandbox->launcher = LAUNCHER_NONE;
	sandbox->owner = (struct port_owner){.listens = false};
	sandbox->task = (struct resolve_task){.launcher = &sandbox->launcher,
		.parent = getpid(),
		.task = CLIENT_SANDBOX_TASK_RESOLVE,
		.leaves = plan->stay != CLIENT_SANDBOX_KEEPS};
	sandbox->resolver = resolve_task_helper(&sandbox->task);
	if (plan->hook == NULL && plan->caller_task.run == NULL && !names_a_host(plan))
		return 0;
	if (start_launcher(sandbox, plan) != 0 && plan->stay == CLIENT_SANDBOX_KEEPS)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot start a helper process: %s",
			strerror(errno));
	if (plan->hook != NULL) {
		plan->hook->launcher = &sandbox->launcher;
		plan->hook->task = CLIENT_SANDBOX_TASK_HOOK;
	}
	return 0;
}

void client_sandbox_close(struct client_sandbox *sandbox)
{
	launcher_close(&sandbox->launcher);
}

void client_sandbox_find_owner(
	struct client_sandbox *sandbox, struct mapping_race_request *request, bool always)
{
	bool shares = request->method != &borrow_method_bind &&
		      privileges_has(PRIVILEGES_NET_ADMIN | PRIVILEGES_NET_RAW);
	uint16_t ports[MAPPING_RACE_REFLECTOR_MAX];

	request->owner = &sandbox->owner;
	if ((always || !shares) &&
		port_owner_find(request->protocol, (enum addr_family)request->local.family,
			request->local.port, &sandbox->owner) != 0)
		sandbox->owner = (struct port_owner){.listens = false};
	if (request->protocol != MAPPING_TCP)
		return;
	for (size_t i = 0; i < request->reflector_count; i++)
		ports[i] = request->reflectors[i].port;
	port_owner_find_keeper(
		request->local.port, ports, request->reflector_count, &sandbox->owner);
}

static void give_up_privileges(const struct client_sandbox_plan *plan)
{
	uint64_t keep = PRIVILEGES_NONE;

	if (plan->stay != CLIENT_SANDBOX_FROM_ANY_PORT)
		keep = PRIVILEGES_PORT;
	else if (plan->marks)
		keep = PRIVILEGES_NET_ADMIN | PRIVILEGES_NET_RAW; /* either; the second from 5.17 */
	/* A hook may become another user. */
	if (plan->hook != NULL)
		keep |= PRIVILEGES_KILL;
	privileges_keep(keep | privileges_for_file(keep, plan->changed_file, true) |
			privileges_for_file(keep, plan->key_file, false));
	privileges_lock();
	if (plan->secret)
		privileges_hide();
}

static void forbid_files(const struct client_sandbox_plan *plan)
{
	bool from_port = plan->stay != CLIENT_SANDBOX_FROM_ANY_PORT;
	bool kills = plan->stay == CLIENT_SANDBOX_KEEPS || plan->hook != NULL;
	const char *key = plan->key_file;
	char target[PATH_MAX];
	const struct landlock_rule rules[] = {
		{plan->caller_file, LANDLOCK_READ_FILE},
		/* All of /proc, where the owner of the port is found. */
		{from_port ? "/proc/net" : NULL, LANDLOCK_LIST},
		{plan->changed_file, LANDLOCK_WRITE},
		{key, LANDLOCK_READ},
		/* Where a symbolic link leads now, also to another directory. */
		{key != NULL ? realpath(key, target) : NULL, LANDLOCK_READ},
	};

	confinement_of_files(rules, sizeof(rules) / sizeof(rules[0]), kills);
}

/* For a command that speaks from a port of its choice. */
static void add_port(struct confinement_lists *lists, const struct client_sandbox_plan *plan)
{
	confinement_add_calls(lists, file_read_calls);
	confinement_add_calls(lists, holder_calls);
	confinement_add_calls(lists, packet_calls);
	confinement_add_calls(lists, route_calls);
	confinement_add_calls(lists, signals_calls);
	confinement_add_calls(lists, translation_calls);
	if (plan->hook != NULL)
		confinement_add_calls(lists, hook_calls);
	if (plan->stay == CLIENT_SANDBOX_KEEPS) {
		confinement_add_calls(lists, netwatch_calls);
		confinement_add_calls(lists, resolve_kill_calls);
	}
	if (plan->taps)
		confinement_add_calls(lists, tap_calls);
	if (plan->changed_file != NULL) {
		confinement_add_calls(lists, file_write_calls);
		confinement_add_calls(lists, file_lock_calls);
	}
}

int client_sandbox_enter(const struct client_sandbox_plan *plan, struct error *error)
{
	struct confinement_lists lists = {.count = 0};

	confinement_add_calls(&lists, sandbox_basic_calls);
	confinement_add_calls(&lists, output_calls);
	confinement_add_calls(&lists, file_status_calls);
	confinement_add_calls(&lists, launcher_calls);
	confinement_add_calls(&lists, resolve_calls);
	confinement_add_calls(&lists, socket_calls);
	confinement_add_calls(&lists, socket_option_calls);
	confinement_add_calls(&lists, socket_interface_calls);
	if (plan->stay != CLIENT_SANDBOX_FROM_ANY_PORT)
		add_port(&lists, plan);
	give_up_privileges(plan);
	forbid_files(plan);
	return confinement_of_calls(lists.all, error);
}
