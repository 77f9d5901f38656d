#include "natpunch/os/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "natpunch/base/parse.h"

#define STATUS_SIZE 256

/* A descriptor connected to the service manager's socket, or -1. */
static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t size = strlen(name);
	int fd;

	if ((name[0] != '/' && name[0] != '@') || size >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, name, size);
	/* An abstract name begins with a NUL and has the length of the address, see unix(7). */
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) == 0)
		return fd;
	close(fd);
	return -1;
}

static uint64_t read_watchdog(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	const char *period = getenv("WATCHDOG_USEC");
	uint64_t number;

	if (pid != NULL &&
		(parse_number(pid, 1, INT32_MAX, &number) != 0 || number != (uint64_t)getpid()))
		return 0;
	if (period == NULL || parse_number(period, 2000, UINT64_MAX, &number) != 0)
		return 0;
	return number / 2000;
}

void notify_open(struct notify *notify)
{
	const char *name = getenv("NOTIFY_SOCKET");

	notify->fd = name != NULL ? connect_to(name) : -1;
	notify->watchdog_ms = notify->fd >= 0 ? read_watchdog() : 0;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
	notify->watchdog_ms = 0;
}

static void tell(const struct notify *notify, const char *text)
{
	if (notify->fd < 0)
		return;
	/* If the service manager's queue is full, the message is lost, and nothing waits. */
	if (send(notify->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return;
}

void notify_ready(const struct notify *notify)
{
	tell(notify, "READY=1");
}

void notify_watchdog(const struct notify *notify)
{
	tell(notify, "WATCHDOG=1");
}

void notify_stopping(const struct notify *notify)
{
	tell(notify, "STOPPING=1");
}

void notify_status(const struct notify *notify, const char *format, ...)
{
	static const char key[] = "STATUS=";
	char text[sizeof(key) + STATUS_SIZE];
	va_list arguments;

	memcpy(text, key, sizeof(key));
	va_start(arguments, format);
	vsnprintf(text + sizeof(key) - 1, STATUS_SIZE, format, arguments);
	va_end(arguments);
	/* A line break would begin another assignment. */
	for (char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = ' ';
	tell(notify, text);
}
