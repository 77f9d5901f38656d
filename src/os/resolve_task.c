#include "natpunch/os/resolve_task.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Both ends are the same program. */
struct question {
	uint8_t family; /* enum addr_family */
	uint8_t port_named;
	uint16_t port;
	char host[HOST_PORT_HOST_SIZE];
};

static void run(const void *context, const void *request, size_t size, int fd)
{
	const struct resolve_task *task = context;
	struct host_port host;
	struct question question;

	if (size != sizeof(question) || fd < 0)
		return;
	/* The process that asked may be killed while a name server is slow. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != task->parent)
		return;
	memcpy(&question, request, sizeof(question));
	host.port = question.port;
	host.port_named = question.port_named != 0;
	memcpy(host.host, question.host, sizeof(host.host));
	host.host[sizeof(host.host) - 1] = '\0';
	resolve_answer(fd, &host, (enum addr_family)question.family);
}

static pid_t start(
	const void *context, const struct host_port *host, enum addr_family family, int fd)
{
	const struct resolve_task *task = context;
	struct question question = {
		.family = (uint8_t)family, .port_named = host->port_named, .port = host->port};

	memcpy(question.host, host->host, strlen(host->host));
	return launcher_start(task->launcher, task->task, &question, sizeof(question), fd);
}

struct launcher_task resolve_task_row(const struct resolve_task *task)
{
	return (struct launcher_task){.run = run, .context = task};
}

struct resolve_helper resolve_task_helper(const struct resolve_task *task)
{
	return (struct resolve_helper){.start = start, .context = task, .leaves = task->leaves};
}
