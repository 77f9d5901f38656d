#include "natpunch/os/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

const struct sandbox_call signals_calls[] = {
	SANDBOX_CALL(signalfd4),
	SANDBOX_END,
};

static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};

static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		sigaddset(set, taken[i]);
}

int signals_open(void)
{
	sigset_t set;

	fill_set(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

void signals_restore(void)
{
	sigset_t set;

	fill_set(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
}

int signals_take(int fd)
{
	struct signalfd_siginfo info;
	ssize_t size;

	do
		size = read(fd, &info, sizeof(info));
	while (size < 0 && errno == EINTR);
	return size == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}
