#include "natpunch/os/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef NSIG
#define SIGNAL_END NSIG
#else /* POSIX.1-2008 has no name for it; what is no signal is refused */
#define SIGNAL_END 65
#endif

#ifdef O_PATH /* allows neither reading nor writing */
#define OPEN_FOR_NOTHING O_PATH
#else /* of a directory read(2) gives nothing either */
#define OPEN_FOR_NOTHING O_RDONLY
#endif

static bool is_ignored(int number)
{
	struct sigaction action = {.sa_flags = 0};

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void startup_reset_signals(void)
{
	struct rlimit size;
	sigset_t none;

	for (int number = 1; number < SIGNAL_END; number++)
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

int startup_fill_descriptors(struct error *error)
{
	int fd;

	/* Each gets the lowest number that is free. */
	do
		fd = open("/", OPEN_FOR_NOTHING | O_DIRECTORY);
	while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
	if (fd < 0)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot open /: %s", strerror(errno));
	close(fd);
	return 0;
}
