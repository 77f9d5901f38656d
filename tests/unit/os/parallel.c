/* A copy of the process: what it finds, and that it ends with its parent and when it is told to. */
#include "natpunch/os/parallel.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define PATIENCE_MS 10000

struct found {
	int number;
	char text[100000]; /* more than a pipe takes at once */
};

static struct found mine, theirs;
static int beat[2]; /* the copy holds the writing end */

static void find(void *context, int stop)
{
	struct found *out = context;

	(void)stop;
	out->number = 42;
	memset(out->text, 'x', sizeof(out->text));
	if (write(STDOUT_FILENO, "noise", 5) < 0)
		_exit(1);
}

static void die(void *context, int stop)
{
	(void)context, (void)stop;
	_exit(0);
}

static void wait_for_stop(void *context, int stop)
{
	struct pollfd watch = {.fd = stop, .events = POLLIN};
	struct found *out = context;

	signal(SIGIO, SIG_IGN);
	if (write(beat[1], "!", 1) != 1)
		_exit(1);
	out->number = poll(&watch, 1, PATIENCE_MS);
}

static void wait_for_ever(void *context, int stop)
{
	(void)context, (void)stop;
	alarm(3 * PATIENCE_MS / 1000);
	if (write(beat[1], "!", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void test_result(void)
{
	struct parallel parallel;

	is_int(parallel_start(&parallel, find, &mine, &mine, sizeof(mine)), 0, "it starts");
	memset(&theirs, 0, sizeof(theirs));
	ok(parallel_finish(&parallel, -1, &theirs, sizeof(theirs)), "it ends, with a result");
	is_int(theirs.number, 42, "which is what was found there");
	is_int(theirs.text[sizeof(theirs.text) - 1], 'x', "to the last byte");
	is_int(mine.number, 0, "and not here");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
	ok(!parallel_finish(&parallel, -1, &theirs, sizeof(theirs)), "a second time: nothing");
}

static void test_no_result(void)
{
	struct parallel parallel;

	is_int(parallel_start(&parallel, die, &mine, &mine, sizeof(mine)), 0, "one that dies");
	ok(!parallel_finish(&parallel, -1, &theirs, sizeof(theirs)), "has found nothing");
	is_int(parallel_start(&parallel, find, &mine, &mine, 10), 0, "one that says a part");
	ok(!parallel_finish(&parallel, -1, &theirs, sizeof(theirs)), "has found nothing either");
}

static void test_stop(void)
{
	struct parallel parallel;
	int stop[2];
	char byte;

	if (pipe(stop) != 0)
		bail_out("no pipe");
	is_int(parallel_start(&parallel, wait_for_stop, &mine, &mine, sizeof(mine)), 0,
		"one that goes on until it is told to end");
	is_int(read(beat[0], &byte, 1), 1, "it is at work");
	is_int(write(stop[1], "!", 1), 1, "it is told");
	ok(parallel_finish(&parallel, stop[0], &theirs, sizeof(theirs)), "it ends with a result");
	is_int(theirs.number, 1, "as it heard of it");
	is_int(parallel_start(&parallel, wait_for_ever, &mine, &mine, sizeof(mine)), 0,
		"one that does not listen");
	ok(!parallel_finish(&parallel, stop[0], &theirs, sizeof(theirs)), "is ended");
	close(stop[0]);
	close(stop[1]);
}

/* The beat's end is seen when all have gone that could write. */
static void test_parent_killed(void)
{
	struct pollfd watch;
	pid_t parent;
	char byte;

	close(beat[0]);
	close(beat[1]);
	if (pipe(beat) != 0)
		bail_out("no pipe");
	watch = (struct pollfd){.fd = beat[0], .events = POLLIN};
	parent = fork();
	if (parent == 0) {
		struct parallel parallel;

		if (parallel_start(&parallel, wait_for_ever, &mine, &mine, sizeof(mine)) != 0)
			_exit(1);
		close(beat[1]);
		for (;;)
			pause();
	}
	close(beat[1]);
	is_int(read(beat[0], &byte, 1), 1, "a copy is at work");
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	is_int(poll(&watch, 1, PATIENCE_MS), 1, "its parent is killed");
	is_int(read(beat[0], &byte, 1), 0, "and it is gone");
	close(beat[0]);
}

int main(void)
{
	if (pipe(beat) != 0)
		bail_out("no pipe");
	test_result();
	test_no_result();
	test_stop();
	test_parent_killed();
	return done_testing();
}
