#include "natpunch/os/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
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

static bool is_ignored(int number)
{
	struct sigaction action = {.sa_flags = 0};

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void signals_reset(void)
{
	struct rlimit size;
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		if (number != SIGHUP && number != SIGINT && number != SIGQUIT && is_ignored(number))
			signal(number, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_cur != size.rlim_max) {
		size.rlim_cur = size.rlim_max;
		setrlimit(RLIMIT_FSIZE, &size);
	}
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
