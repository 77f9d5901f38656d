#include "natpunch/asker_confinement.h"

#include <asm/termbits.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "natpunch/addr.h"
#include "natpunch/confinement.h"
#include "natpunch/file.h"
#include "natpunch/holder.h"
#include "natpunch/netwatch.h"
#include "natpunch/packet.h"
#include "natpunch/privileges.h"
#include "natpunch/signals.h"
#include "natpunch/socket_linux.h"
#include "natpunch/tap.h"
#include "natpunch/translation.h"

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

static bool names_a_host(const struct asker *asker)
{
	struct addr addr;

	for (size_t i = 0; i < asker->reflector_count; i++)
		if (addr_parse_ip(&addr, asker->reflectors[i].host) != 0)
			return true;
	return false;
}

static int start_launcher(
	struct asker_confinement *confinement, const struct asker *asker, struct error *error)
{
	struct launcher_task tasks[TASK_COUNT] = {[TASK_RESOLVE] = resolve_task_row()};

	if (asker->hook != NULL)
		tasks[TASK_HOOK] = hook_task(asker->hook);
	if (asker->handover != NULL)
		tasks[TASK_HANDOVER] = handover_task(asker->handover);
	if (launcher_open(&confinement->launcher, tasks, TASK_COUNT) != 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot start a launcher: %s", strerror(errno));
	return 0;
}

int asker_confinement_open(
	struct asker_confinement *confinement, const struct asker *asker, struct error *error)
{
	confinement->launcher = LAUNCHER_NONE;
	confinement->task =
		(struct resolve_task){.launcher = &confinement->launcher, .task = TASK_RESOLVE};
	confinement->resolver = resolve_task_helper(&confinement->task);
	if (asker->hook == NULL && asker->handover == NULL && !names_a_host(asker))
		return 0;
	if (start_launcher(confinement, asker, error) != 0)
		return -1;
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

void asker_confinement_close(struct asker_confinement *confinement)
{
	launcher_close(&confinement->launcher);
}

static void give_up_privileges(const struct asker *asker)
{
	uint64_t keep = PRIVILEGES_NONE;

	if (asker->stay != ASKER_FROM_ANY_PORT)
		keep = PRIVILEGES_PORT;
	if (asker->stay == ASKER_ONCE)
		keep |= PRIVILEGES_HOLDER;
	privileges_keep(keep | privileges_for_file(keep, asker->changed_file, true));
	privileges_lock();
	if (asker->secret)
		privileges_hide();
}

static void forbid_files(const struct asker *asker)
{
	bool keeps = asker->stay == ASKER_KEEPS;
	const struct landlock_rule rules[] = {
		/* The handover's spare descriptor; and all of /proc: who holds the port. */
		{keeps ? "/dev/null" : NULL, LANDLOCK_READ_FILE},
		{keeps ? "/proc/net" : NULL, LANDLOCK_LIST},
		{asker->changed_file, LANDLOCK_WRITE},
	};

	if (asker->stay != ASKER_ONCE)
		confinement_of_files(rules, sizeof(rules) / sizeof(rules[0]), true);
}

static const struct sandbox_call *const lists_from_any_port[] = {
	sandbox_basic_calls,
	output_calls,
	file_status_calls,
	launcher_calls,
	resolve_calls,
	socket_calls,
	socket_interface_calls,
	NULL,
};

static const struct sandbox_call *const lists_once[] = {
	sandbox_basic_calls,
	output_calls,
	file_read_calls,
	file_status_calls,
	holder_calls,
	hook_calls,
	launcher_calls,
	packet_calls,
	resolve_calls,
	signals_calls,
	socket_calls,
	socket_interface_calls,
	tap_calls,
	translation_calls,
	NULL,
};

/* Also for who does not stay and remembers. */
static const struct sandbox_call *const lists_kept[] = {
	sandbox_basic_calls,
	output_calls,
	file_read_calls,
	file_status_calls,
	file_write_calls,
	file_lock_calls,
	holder_calls,
	hook_calls,
	launcher_calls,
	netwatch_calls,
	packet_calls,
	resolve_calls,
	signals_calls,
	socket_calls,
	socket_interface_calls,
	translation_calls,
	NULL,
};

int asker_confinement_enter(const struct asker *asker, struct error *error)
{
	const struct sandbox_call *const *lists = lists_kept;

	if (asker->stay == ASKER_FROM_ANY_PORT)
		lists = lists_from_any_port;
	else if (asker->stay == ASKER_ONCE && asker->changed_file == NULL)
		lists = lists_once;
	give_up_privileges(asker);
	forbid_files(asker);
	return confinement_of_calls(lists, error);
}
