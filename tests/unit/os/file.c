/*
 * A file is replaced whole: who has the old one open goes on reading it, what cannot be written
 * leaves the old one as it was and nothing beside it. What is read is a regular file of the size
 * that was allowed.
 */
#include "natpunch/os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "tap.h"

#define SECRET_MODE 0600

typedef int replace(
	const char *path, const void *data, size_t size, mode_t mode, struct error *error);

static char directory[] = "/tmp/natpunch-file-XXXXXX";
static char path[64];

static int count_files(void)
{
	DIR *list = opendir(directory);
	int count = 0;

	if (list == NULL)
		bail_out("opendir");
	for (struct dirent *entry; (entry = readdir(list)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(list);
	return count;
}

/* Whether the file holds this; NULL: there is none. */
static bool holds(const char *want)
{
	struct error error;
	size_t size;
	char *data;
	bool same;

	if (file_read_whole(path, 1000, &data, &size, &error) != 0)
		return false;
	same = want == NULL || data == NULL ? data == want
					    : size == strlen(want) && memcmp(data, want, size) == 0;
	free(data);
	return same;
}

static void test_replace(const char *name, replace *put)
{
	char old[4] = "";
	struct error error;
	struct stat status;
	int fd;

	unlink(path);
	ok(holds(NULL), "%s: nothing yet", name);
	is_int(put(path, "old", 3, SECRET_MODE, &error), 0, "%s: the first", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	is_int(put(path, "newer", 5, SECRET_MODE, &error), 0, "%s: another", name);
	ok(holds("newer"), "%s: is what is there", name);
	ok(read(fd, old, sizeof(old)) == 3 && memcmp(old, "old", 3) == 0,
		"%s: who has the old one open reads the old one", name);
	close(fd);
	ok(stat(path, &status) == 0 && (status.st_mode & 0777) == SECRET_MODE, "%s: its mode",
		name);
	is_int(count_files(), 1, "%s: nothing beside it", name);
}

/* No file may be larger than two bytes. */
static void test_full(const char *name, replace *put)
{
	struct rlimit two = {.rlim_cur = 2, .rlim_max = RLIM_INFINITY};
	struct rlimit before;
	struct error error;
	int result;

	getrlimit(RLIMIT_FSIZE, &before);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &two);
	result = put(path, "newest", 6, SECRET_MODE, &error);
	setrlimit(RLIMIT_FSIZE, &before);
	is_int(result, -1, "%s: no room", name);
	is_int(error.status, EXIT_STATUS_LOCAL, "%s: this machine refuses", name);
	ok(holds("newer"), "%s: the old one is as it was", name);
	is_int(count_files(), 1, "%s: and nothing beside it", name);
}

static void test_read(void)
{
	struct error error;
	size_t size = 1;
	char *data;

	is_int(file_read_whole(path, 4, &data, &size, &error), -1, "a larger one is refused");
	ok(data == NULL, "and nothing is left to free");
	is_int(file_read_whole(path, 5, &data, &size, &error), 0, "one of the size is read");
	is_uint(size, 5, "whole");
	free(data);
	is_int(file_read_whole(directory, 1000, &data, &size, &error), -1, "a directory is not");
}

/* Who waits for a lock while it is taken away: another process, that has it by then. */
static void test_lock_is_handed_on(char *lock_path)
{
	struct error error;
	struct stat status;
	int lock = file_lock(path, clock_now_ms(), &error);
	int ready[2], result = -1;
	char byte;
	pid_t waiter;

	if (lock < 0 || pipe(ready) != 0)
		bail_out("no lock: %s", error.text);
	waiter = fork();
	if (waiter == 0) {
		/* The lock is held for as long as any copy of the descriptor is open. */
		close(lock);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		lock = file_lock(path, clock_now_ms() + 5000, &error);
		_exit(lock >= 0 && stat(lock_path, &status) == 0 ? 0 : 1);
	}
	if (read(ready[0], &byte, 1) != 1)
		bail_out("no waiter");
	poll(NULL, 0, 50); /* so that it waits, most times */
	file_unlock(path, lock);
	waitpid(waiter, &result, 0);
	is_int(result, 0, "who waits gets a lock that is there to be seen");
	unlink(lock_path);
	close(ready[0]);
	close(ready[1]);
}

static void test_lock(void)
{
	struct error error;
	struct stat status;
	char lock_path[80];
	uint64_t began;
	int lock;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	lock = file_lock(path, clock_now_ms(), &error);
	ok(lock >= 0, "locked");
	ok(stat(lock_path, &status) == 0 && (status.st_mode & 0777) == 0600,
		"by a file that nobody else can open");
	began = clock_now_ms();
	is_int(file_lock(path, began + 200, &error), -1, "a second one has to wait");
	ok(clock_now_ms() - began >= 200 && clock_now_ms() - began < 2000, "for as long as it may");
	ok(stat(lock_path, &status) == 0, "and takes nothing away");
	file_unlock(path, lock);
	ok(stat(lock_path, &status) != 0, "unlocked, nothing is left");
	test_lock_is_handed_on(lock_path);
	if (symlink(path, lock_path) != 0)
		bail_out("no link");
	is_int(file_lock(path, clock_now_ms(), &error), -1, "a link is not followed");
	unlink(lock_path);
}

/* Whom the file does not belong to: another process, as another user when this one is root. */
static void test_secret_of_another(void)
{
	struct error error;
	char wanted[128], got[sizeof(error.hint)] = "";
	int ends[2], result = -1;
	pid_t child;
	char *text;
	size_t size;

	if (geteuid() != 0) {
		skip(3, "only root has files that this user may not read");
		return;
	}
	if (file_replace(path, "key", 3, SECRET_MODE, &error) != 0 || pipe(ends) != 0)
		bail_out("no file of another's");
	chmod(directory, 0755);
	child = fork();
	if (child == 0) {
		if (setresuid(65534, 65534, 65534) != 0)
			_exit(1);
		result = file_read_secret(path, 64, &text, &size, &error);
		_exit(write(ends[1], error.hint, sizeof(error.hint)) > 0 && result == -1 ? 0 : 1);
	}
	close(ends[1]);
	ok(read(ends[0], got, sizeof(got)) > 0, "a hint");
	close(ends[0]);
	waitpid(child, &result, 0);
	is_int(result, 0, "a secret of another user is not read");
	snprintf(wanted, sizeof(wanted), "user nobody may not read it: chown nobody %s", path);
	is_str(got, wanted, "and the hint names the user");
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		bail_out("mkdtemp");
	snprintf(path, sizeof(path), "%s/file", directory);
	test_replace("replace", file_replace);
	test_full("replace", file_replace);
	test_read();
	test_lock();
	test_secret_of_another();
	test_replace("replace alone", file_replace_alone);
	test_full("replace alone", file_replace_alone);
	unlink(path);
	rmdir(directory);
	return done_testing();
}
