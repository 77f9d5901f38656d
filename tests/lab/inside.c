/*
 * inside NS COMMAND [ARG...]: runs a command in a network namespace of ip-netns(8), in a mount
 * namespace of its own, so that what it mounts goes with it. What `ip netns exec` does, but for
 * /sys, whose mount takes longer than most commands here; a laboratory runs thousands.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static int fail(const char *what, const char *name)
{
	fprintf(stderr, "inside: %s %s: %s\n", what, name, strerror(errno));
	return 126;
}

int main(int argc, char **argv)
{
	char path[256];
	int fd;

	if (argc < 3) {
		fputs("usage: inside NS COMMAND [ARG...]\n", stderr);
		return 2;
	}
	snprintf(path, sizeof(path), "/run/netns/%s", argv[1]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		return fail("cannot enter", path);
	if (unshare(CLONE_NEWNS) != 0 || mount("", "/", "none", MS_SLAVE | MS_REC, NULL) != 0)
		return fail("cannot separate mounts from", path);
	execvp(argv[2], argv + 2);
	fail("cannot run", argv[2]);
	return 127;
}
