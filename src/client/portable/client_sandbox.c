/* POSIX has nothing that a process can confine itself with: the command goes on as it is. */
#include "natpunch/client/client_sandbox.h"

#include <string.h>
#include <unistd.h>

/* In the child, resolve.c goes on by itself. */
static pid_t start_child(
	const void *context, const struct host_port *host, enum addr_family family, int fd)
{
	(void)context;
	(void)host;
	(void)family;
	(void)fd;
	return fork();
}

int client_sandbox_open(
	struct client_sandbox *sandbox, const struct client_sandbox_plan *plan, struct error *error)
{
	(void)plan;
	(void)error;
	memset(sandbox, 0, sizeof(*sandbox));
	sandbox->resolver.start = start_child;
	return 0;
}

int client_sandbox_enter(const struct client_sandbox_plan *plan, struct error *error)
{
	(void)plan;
	(void)error;
	return 0;
}

void client_sandbox_close(struct client_sandbox *sandbox)
{
	(void)sandbox;
}
