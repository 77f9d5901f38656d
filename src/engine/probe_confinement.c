#include "natpunch/probe_confinement.h"

#include <asm/termbits.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "natpunch/confinement.h"
#include "natpunch/file.h"
#include "natpunch/holder.h"
#include "natpunch/netwatch.h"
#include "natpunch/packet.h"
#include "natpunch/parse.h"
#include "natpunch/privileges.h"
#include "natpunch/signals.h"
#include "natpunch/socket_linux.h"
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

struct question {
	uint8_t family; /* enum addr_family */
	uint8_t port_named;
	uint16_t port;
	char host[PARSE_HOST_SIZE];
};

static void run_resolve(const void *context, const void *request, size_t size, int fd)
{
	struct parse_host_port host;
	struct question question;

	(void)context;
	if (size != sizeof(question) || fd < 0)
		return;
	memcpy(&question, request, sizeof(question));
	host.port = question.port;
	host.port_named = question.port_named != 0;
	memcpy(host.host, question.host, sizeof(host.host));
	host.host[sizeof(host.host) - 1] = '\0';
	resolve_answer(fd, &host, (enum addr_family)question.family);
}

static pid_t start_resolve(
	const void *context, const struct parse_host_port *host, enum addr_family family, int fd)
{
	const struct probe_confinement *confinement = context;
	struct question question = {
		.family = (uint8_t)family, .port_named = host->port_named, .port = host->port};

	memcpy(question.host, host->host, strlen(host->host));
	return launcher_start(
		&confinement->launcher, TASK_RESOLVE, &question, sizeof(question), fd);
}

int probe_confinement_open(struct probe_confinement *confinement, struct hook *hook,
	struct handover *handover, struct error *error)
{
	const struct launcher_task tasks[TASK_COUNT] = {
		[TASK_RESOLVE] = {.run = run_resolve},
		[TASK_HOOK] = hook_task(hook),
		[TASK_HANDOVER] = handover_task(handover),
	};

	if (launcher_open(&confinement->launcher, tasks, TASK_COUNT) != 0)
		return error_set(
			error, EXIT_STATUS_LOCAL, "cannot start a launcher: %s", strerror(errno));
	confinement->resolver =
		(struct resolve_helper){.start = start_resolve, .context = confinement};
	hook->launcher = handover->launcher = &confinement->launcher;
	hook->task = TASK_HOOK;
	handover->task = TASK_HANDOVER;
	return 0;
}

void probe_confinement_close(struct probe_confinement *confinement)
{
	launcher_close(&confinement->launcher);
}

static void forbid_files(const char *changed_file)
{
	const struct landlock_rule rules[] = {
		{"/dev/null", LANDLOCK_READ_FILE}, /* the spare descriptor of the handover */
		{"/proc/net", LANDLOCK_LIST},      /* all of /proc: who holds the port */
		{changed_file, LANDLOCK_WRITE},
	};

	confinement_of_files(rules, sizeof(rules) / sizeof(rules[0]), true);
}

static int forbid_calls(struct error *error)
{
	const struct sandbox_call *const lists[] = {
		sandbox_basic_calls,
		output_calls,
		file_read_calls,
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
		translation_calls,
		NULL,
	};

	return confinement_of_calls(lists, error);
}

int probe_confinement_enter(const char *changed_file, bool secret, struct error *error)
{
	uint64_t keep = PRIVILEGES_PORT | privileges_for_file(PRIVILEGES_PORT, changed_file, true);

	privileges_keep(keep);
	privileges_lock();
	if (secret)
		privileges_hide();
	forbid_files(changed_file);
	return forbid_calls(error);
}
