/* The service manager is a datagram socket of the test. */
#include "natpunch/os/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tap.h"

static char directory[] = "/tmp/natpunch-notify-XXXXXX";

static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t size = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, name, size);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) != 0)
		bail_out("cannot listen at %s: %s", name, strerror(errno));
	return fd;
}

static const char *heard(int fd)
{
	static char text[1024];
	ssize_t size = recv(fd, text, sizeof(text) - 1, 0);

	text[size > 0 ? size : 0] = '\0';
	return text;
}

static void set_environment(const char *name, const char *pid, const char *period)
{
	const char *const pairs[][2] = {
		{"NOTIFY_SOCKET", name}, {"WATCHDOG_PID", pid}, {"WATCHDOG_USEC", period}};

	for (size_t i = 0; i < 3; i++) {
		unsetenv(pairs[i][0]);
		if (pairs[i][1] != NULL)
			setenv(pairs[i][0], pairs[i][1], 1);
	}
}

static void test_messages(const char *name)
{
	int manager = listen_at(name);
	struct notify notify;
	char text[400], wanted[300];

	set_environment(name, NULL, NULL);
	notify_open(&notify);
	ok(notify.fd >= 0, "%s: somebody listens", name);
	ok((fcntl(notify.fd, F_GETFD) & FD_CLOEXEC) != 0, "%s: closed on exec", name);
	ok(getenv("NOTIFY_SOCKET") == NULL, "%s: the variable is gone", name);
	is_uint(notify.watchdog_ms, 0, "%s: no watchdog", name);
	notify_ready(&notify);
	is_str(heard(manager), "READY=1", "%s: ready", name);
	notify_watchdog(&notify);
	is_str(heard(manager), "WATCHDOG=1", "%s: watchdog", name);
	notify_status(&notify, "%s %d", "203.0.113.2", 22);
	is_str(heard(manager), "STATUS=203.0.113.2 22", "%s: status", name);
	notify_status(&notify, "%s", "a\nREADY=0\tb\x7f");
	is_str(heard(manager), "STATUS=a READY=0 b ", "%s: a status is one line", name);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(wanted, sizeof(wanted), "STATUS=%.255s", text);
	notify_status(&notify, "%s", text);
	is_str(heard(manager), wanted, "%s: a long status is cut", name);
	notify_stopping(&notify);
	is_str(heard(manager), "STOPPING=1", "%s: stopping", name);

	close(manager);
	notify_ready(&notify); /* nobody listens any more: no signal, no error */
	notify_close(&notify);
	is_int(notify.fd, -1, "%s: closed", name);
	unlink(name);
	manager = listen_at(name);
	notify_ready(&notify);
	is_str(heard(manager), "", "%s: and silent", name);
	close(manager);
}

static void is_watchdog(const char *name, const char *pid, const char *period, uint64_t wanted)
{
	struct notify notify;

	set_environment(name, pid, period);
	notify_open(&notify);
	is_uint(notify.watchdog_ms, wanted, "watchdog of %s us, pid %s", period ? period : "no",
		pid ? pid : "none");
	ok(getenv("WATCHDOG_PID") == NULL && getenv("WATCHDOG_USEC") == NULL,
		"the variables are gone");
	notify_close(&notify);
}

static void test_watchdog(const char *name)
{
	int manager = listen_at(name);
	char own[16], other[16];

	snprintf(own, sizeof(own), "%d", (int)getpid());
	snprintf(other, sizeof(other), "%d", (int)getppid());
	is_watchdog(name, own, "30000000", 15000);
	is_watchdog(name, NULL, "30000000", 15000);
	is_watchdog(name, other, "30000000", 0);
	is_watchdog(name, "x", "30000000", 0);
	is_watchdog(name, own, NULL, 0);
	is_watchdog(name, own, "", 0);
	is_watchdog(name, own, "-30000000", 0);
	is_watchdog(name, own, "1999", 0);
	is_watchdog(NULL, own, "30000000", 0);
	close(manager);
	unlink(name);
}

static void test_nobody(void)
{
	static const char *const names[] = {NULL, "", "relative", "/nonexistent/socket",
		"@nobody-is-here",
		"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct notify notify;
		set_environment(names[i], NULL, NULL);
		notify_open(&notify);
		is_int(notify.fd, -1, "nobody at %s", names[i] != NULL ? names[i] : "(unset)");
		notify_ready(&notify);
		notify_status(&notify, "unheard");
		notify_close(&notify);
	}
}

int main(void)
{
	char path[64], abstract[64];

	if (mkdtemp(directory) == NULL)
		bail_out("cannot make a directory");
	snprintf(path, sizeof(path), "%s/socket", directory);
	snprintf(abstract, sizeof(abstract), "@natpunch-test-%d", (int)getpid());
	test_messages(path);
	unlink(path);
	test_messages(abstract);
	test_watchdog(path);
	test_nobody();
	rmdir(directory);
	return done_testing();
}
