/* Can a file be executed, and if not, why? */
#include "natpunch/os/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

static char directory[] = "/tmp/natpunch-program-XXXXXX";

static const char *make(const char *name, const char *text, mode_t mode)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) != 0)
		bail_out("%s: %s", path, strerror(errno));
	return path;
}

static void is_refused(const char *path, const char *why, const char *name)
{
	struct error error;
	char wanted[256];

	snprintf(wanted, sizeof(wanted), "cannot run hook %s: %s", path, why);
	is_int(program_check("hook ", path, &error), -1, "%s: refused", name);
	is_int(error.status, EXIT_STATUS_LOCAL, "%s: as by this machine", name);
	is_str(error.text, wanted, "%s: with the reason", name);
}

static void is_fine(const char *path, const char *name)
{
	struct error error;

	is_int(program_check("hook ", path, &error), 0, "%s", name);
}

static void test_check(void)
{
	is_refused("/nonexistent/hook", strerror(ENOENT), "no such file");
	is_refused(make("plain", "#!/bin/sh\n", 0600), strerror(EACCES), "not executable");
	is_refused(make("dos", "#!/bin/sh\r\ntrue\r\n", 0700),
		"its first line ends in CR, where LF alone must be", "a script from DOS");
	is_refused(make("lost", "#! /nonexistent/sh -e\n", 0700),
		"its interpreter /nonexistent/sh is not there", "a script without an interpreter");
	is_fine(make("script", "#!/bin/sh\ntrue\n", 0700), "a script");
	is_fine(make("option", "#!/bin/sh -e\ntrue\n", 0700), "a script with an option");
	is_fine(make("other", "true\n", 0700), "what has no such line is left to the kernel");
	is_fine("/bin/sh", "a program");
}

static void test_explain(void)
{
	char reason[PROGRAM_REASON_SIZE];
	const char *lost = make("lost", "#!/nonexistent/\033sh\n", 0700);

	is_str(program_explain(lost, ENOENT, reason),
		"its interpreter /nonexistent/\\x1bsh is not there", "escaped");
	is_str(program_explain(lost, ENOMEM, reason), strerror(ENOMEM), "another failure");
}

int main(void)
{
	static const char *const names[] = {"plain", "dos", "lost", "script", "option", "other"};

	if (mkdtemp(directory) == NULL)
		bail_out("no directory");
	test_check();
	test_explain();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(make(names[i], "", 0700));
	rmdir(directory);
	return done_testing();
}
