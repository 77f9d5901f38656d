#include "natpunch/os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define LOCK_RETRY_MS 10
#define PASSWD_MAX    (1024UL * 1024)
#define USER_MAX      32 /* as useradd(8) has it */
/* Whom systemd gives to a service with DynamicUser= and no user of its name. */
#define DYNAMIC_MIN 61184
#define DYNAMIC_MAX 65519

#ifndef NATPUNCH_PORTABLE
#define OPEN_FOR_MORE (O_ACCMODE | O_CREAT | O_TRUNC) /* than reading */

const struct sandbox_call file_read_calls[] = {
	SANDBOX_WHEN(openat, 2, OPEN_FOR_MORE, O_RDONLY),
#ifdef __NR_open
	SANDBOX_WHEN(open, 1, OPEN_FOR_MORE, O_RDONLY),
#endif
#ifdef __NR_geteuid
	SANDBOX_CALL(geteuid),
#endif
#ifdef __NR_geteuid32
	SANDBOX_CALL(geteuid32),
#endif
/* musl sets the flag of O_CLOEXEC once more. */
#ifdef __NR_fcntl
	SANDBOX_WHEN(fcntl, 1, SANDBOX_WHOLE, F_SETFD),
#endif
#ifdef __NR_fcntl64
	SANDBOX_WHEN(fcntl64, 1, SANDBOX_WHOLE, F_SETFD),
#endif
	SANDBOX_END,
};

const struct sandbox_call file_status_calls[] = {
#ifdef __NR_fstat
	SANDBOX_CALL(fstat),
#endif
#ifdef __NR_fstat64
	SANDBOX_CALL(fstat64),
#endif
#ifdef __NR_newfstatat
	SANDBOX_CALL(newfstatat),
#endif
#ifdef __NR_fstatat64
	SANDBOX_CALL(fstatat64),
#endif
#ifdef __NR_statx
	SANDBOX_CALL(statx),
#endif
	SANDBOX_END,
};

const struct sandbox_call file_write_calls[] = {
	SANDBOX_CALL(openat),
#ifdef __NR_open
	SANDBOX_CALL(open),
#endif
	SANDBOX_CALL(fchmod),
	SANDBOX_CALL(fsync),
	SANDBOX_CALL(renameat2),
#ifdef __NR_renameat
	SANDBOX_CALL(renameat),
#endif
#ifdef __NR_rename
	SANDBOX_CALL(rename),
#endif
	SANDBOX_CALL(unlinkat),
#ifdef __NR_unlink
	SANDBOX_CALL(unlink),
#endif
	SANDBOX_END,
};

const struct sandbox_call file_lock_calls[] = {
	SANDBOX_CALL(faccessat),
#ifdef __NR_faccessat2
	SANDBOX_CALL(faccessat2),
#endif
	SANDBOX_CALL(flock),
	SANDBOX_END,
};
#endif

static int fail_because(struct error *error, const char *verb, const char *path, const char *reason)
{
	char safe[160];

	text_escape(safe, sizeof(safe), path, strlen(path));
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s %s: %s", verb, safe, reason);
}

static int fail(struct error *error, const char *verb, const char *path, int number)
{
	fail_because(error, verb, path, strerror(number));
	errno = number;
	return -1;
}

static ssize_t read_all(int fd, char *out, size_t capacity)
{
	size_t used = 0;

	while (used < capacity) {
		ssize_t got = read(fd, out + used, capacity - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

/* Whether the open file is one of at most `max` bytes. */
static int check_file(const char *path, int fd, size_t max, size_t *size, struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return fail(error, "read", path, errno);
	if (S_ISDIR(status.st_mode))
		return fail(error, "read", path, EISDIR);
	if (!S_ISREG(status.st_mode))
		return fail_because(error, "read", path, "not a regular file");
	if (status.st_size < 0 || (uintmax_t)status.st_size > max)
		return fail(error, "read", path, EFBIG);
	*size = (size_t)status.st_size;
	return 0;
}

ssize_t file_read(const char *path, void *out, size_t capacity, int *missing, struct error *error)
{
	size_t size;
	ssize_t got = -1;
	int fd;

	*missing = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT) {
		*missing = 1;
		return 0;
	}
	if (fd < 0)
		return fail(error, "open", path, errno);
	if (check_file(path, fd, capacity, &size, error) == 0 &&
		(got = read_all(fd, out, capacity)) < 0)
		fail(error, "read", path, errno);
	close(fd);
	return got;
}

/* Whether nobody else may read the open file. */
static int check_secret(const char *path, int fd, struct error *error)
{
	struct stat status;
	char safe[160];

	if (fstat(fd, &status) != 0)
		return fail(error, "read", path, errno);
	if ((status.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		return 0;
	text_escape(safe, sizeof(safe), path, strlen(path));
	error_set(error, EXIT_STATUS_LOCAL, "%s holds keys and is open to others (mode %03o)", safe,
		(unsigned)status.st_mode & 0777);
	text_escape_shell(safe, sizeof(safe), path);
	return error_hint(error, "chmod 600 %s", safe);
}

/* Takes over nothing: fd stays the caller's. Returns 0 with *out to be freed, or -1. */
static int read_allocated(
	const char *path, int fd, size_t capacity, char **out, size_t *size, struct error *error)
{
	ssize_t got;

	*out = malloc(capacity + 1);
	if (*out == NULL)
		return fail(error, "read", path, ENOMEM);
	got = read_all(fd, *out, capacity);
	if (got < 0) {
		fail(error, "read", path, errno);
		free(*out);
		*out = NULL;
		return -1;
	}
	*size = (size_t)got;
	return 0;
}

int file_read_whole(const char *path, size_t max, char **out, size_t *size, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t capacity = 0;
	int result;

	*out = NULL;
	*size = 0;
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return fail(error, "open", path, errno);
	result = check_file(path, fd, max, &capacity, error);
	if (result == 0)
		result = read_allocated(path, fd, capacity, out, size, error);
	close(fd);
	return result;
}

/* Takes the text up to the separator, or its end; NULL after the last field. */
static char *cut_field(char **rest, char separator)
{
	char *field = *rest, *end = field != NULL ? strchr(field, separator) : NULL;

	*rest = end != NULL ? end + 1 : NULL;
	if (end != NULL)
		*end = '\0';
	return field;
}

/*
 * The name that /etc/passwd has for the user, or "". Read here, as getpwuid(3) asks whatever
 * service it is configured for, which a confined process cannot.
 */
static void find_user_name(uid_t uid, char out[USER_MAX + 1])
{
	struct error ignored;
	char *text, *next, *line;
	uint64_t number;
	size_t size;

	out[0] = '\0';
	if (file_read_whole("/etc/passwd", PASSWD_MAX, &text, &size, &ignored) != 0 || text == NULL)
		return;
	text[size] = '\0';
	next = text;
	while ((line = cut_field(&next, '\n')) != NULL) {
		const char *name = cut_field(&line, ':');
		const char *field;

		cut_field(&line, ':');
		field = cut_field(&line, ':');
		if (field == NULL || parse_number(field, 0, UINT32_MAX, &number) != 0 ||
			number != uid)
			continue;
		text_escape(out, USER_MAX + 1, name, strlen(name));
		break;
	}
	free(text);
}

/* Most often a key file is refused because it belongs to another user. */
static int fail_to_open_secret(const char *path, struct error *error)
{
	char name[USER_MAX + 1];
	char safe[160];
	uid_t uid;

	fail(error, "open", path, errno);
	if (errno != EACCES)
		return -1;
	uid = geteuid();
	find_user_name(uid, name);
	text_escape_shell(safe, sizeof(safe), path);
	if (name[0] != '\0')
		return error_hint(error, "user %s may not read it: chown %s %s", name, name, safe);
	if (uid >= DYNAMIC_MIN && uid <= DYNAMIC_MAX)
		return error_hint(error,
			"systemd-sysusers makes the user natpunch for it, then: chown natpunch %s",
			safe);
	return error_hint(error, "user %lu may not read it: chown %lu %s", (unsigned long)uid,
		(unsigned long)uid, safe);
}

int file_read_secret(const char *path, size_t max, char **out, size_t *size, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t capacity = 0;
	int result;

	*out = NULL;
	if (fd < 0)
		return fail_to_open_secret(path, error);
	result = check_file(path, fd, max, &capacity, error);
	if (result == 0)
		result = check_secret(path, fd, error);
	if (result == 0)
		result = read_allocated(path, fd, capacity, out, size, error);
	close(fd);
	return result;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t put = write(fd, data, size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		data += put;
		size -= (size_t)put;
	}
	return 0;
}

/* The directory part of path, "." where there is none. Returns -1 when it does not fit. */
static int directory_of(const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t size = slash == NULL ? 0 : (size_t)(slash - path);

	if (size >= PATH_MAX)
		return -1;
	if (slash == NULL)
		memcpy(out, ".", 2);
	else if (size == 0)
		memcpy(out, "/", 2);
	else {
		memcpy(out, path, size);
		out[size] = '\0';
	}
	return 0;
}

int file_open_directory(const char *path, int flags)
{
	char directory[PATH_MAX];

	if (directory_of(path, directory) != 0) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(directory, flags | O_DIRECTORY | O_CLOEXEC);
}

static int put_content(int fd, const void *data, size_t size, mode_t mode)
{
	if (fchmod(fd, mode) != 0 || write_all(fd, data, size) != 0)
		return -1;
	return fsync(fd);
}

/* The second half: takes over fd, which is open on `temporary`. */
static int put_in_place(const char *path, const char *temporary, int fd, const void *data,
	size_t size, mode_t mode, struct error *error)
{
	int directory;

	if (put_content(fd, data, size, mode) != 0) {
		int saved = errno;
		close(fd);
		unlink(temporary);
		return fail(error, "write", path, saved);
	}
	close(fd);
	if (rename(temporary, path) != 0) {
		int saved = errno;
		unlink(temporary);
		return fail(error, "replace", path, saved);
	}
	/* The new content is in place; without this sync a crash may still lose it. */
	directory = file_open_directory(path, O_RDONLY);
	if (directory >= 0) {
		fsync(directory);
		close(directory);
	}
	return 0;
}

/* path with something behind it. Returns -1 when it does not fit. */
static int append_suffix(const char *path, const char *suffix, char out[PATH_MAX])
{
	int length = snprintf(out, PATH_MAX, "%s%s", path, suffix);

	return length < 0 || length >= PATH_MAX ? -1 : 0;
}

int file_replace(const char *path, const void *data, size_t size, mode_t mode, struct error *error)
{
	char temporary[PATH_MAX];
	int fd;

	if (append_suffix(path, ".XXXXXX", temporary) != 0)
		return fail(error, "write", path, ENAMETOOLONG);
	fd = mkstemp(temporary);
	if (fd < 0)
		return fail(error, "write", path, errno);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return put_in_place(path, temporary, fd, data, size, mode, error);
}

/* Opens a new file beside the path, of that owner. Returns -1 and errno. */
static int open_beside(char temporary[PATH_MAX], const struct stat *owner)
{
	int fd = mkstemp(temporary);
	int saved;

	if (fd < 0)
		return -1;
	if ((owner->st_uid == geteuid() && owner->st_gid == getegid()) ||
		fchown(fd, owner->st_uid, owner->st_gid) == 0) {
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		return fd;
	}
	saved = errno;
	unlink(temporary);
	close(fd);
	errno = saved;
	return -1;
}

int file_replace_content(const char *path, const void *data, size_t size, struct error *error)
{
	char temporary[PATH_MAX];
	struct stat before;
	int fd;

	if (lstat(path, &before) != 0)
		return fail(error, "replace", path, errno);
	if (S_ISLNK(before.st_mode))
		return fail_because(error, "replace", path, "it is a symbolic link");
	if (append_suffix(path, ".XXXXXX", temporary) != 0)
		return fail(error, "write", path, ENAMETOOLONG);
	fd = open_beside(temporary, &before);
	if (fd < 0)
		return fail(error, "write", path, errno);
	return put_in_place(path, temporary, fd, data, size, before.st_mode & 0777, error);
}

int file_replace_alone(
	const char *path, const void *data, size_t size, mode_t mode, struct error *error)
{
	char temporary[PATH_MAX];
	int fd;

	if (append_suffix(path, ".new", temporary) != 0)
		return fail(error, "write", path, ENAMETOOLONG);
	/* Removed and not overwritten: a dying writer's last bytes must not get into the new file.
	 */
	if (unlink(temporary) != 0 && errno != ENOENT)
		return fail(error, "write", temporary, errno);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(error, "write", path, errno);
	return put_in_place(path, temporary, fd, data, size, mode, error);
}

bool file_is_same(const char *one, const char *other)
{
	struct stat status[2];

	return stat(one, &status[0]) == 0 && stat(other, &status[1]) == 0 &&
	       status[0].st_dev == status[1].st_dev && status[0].st_ino == status[1].st_ino;
}

int file_set_aside(const char *path, struct error *error)
{
	char aside[PATH_MAX];

	if (append_suffix(path, ".damaged", aside) != 0)
		return fail(error, "set aside", path, ENAMETOOLONG);
	return rename(path, aside) == 0 ? 0 : fail(error, "set aside", path, errno);
}

int file_check_writable(const char *path, struct error *error)
{
	char directory[PATH_MAX];

	if (directory_of(path, directory) != 0)
		return fail(error, "write", path, ENAMETOOLONG);
	if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
		return fail(error, "write", path, errno);
	return 0;
}

/* Waits for the lock on an open lock file. Returns 0, or -1 and errno. */
static int wait_for_lock(int fd, uint64_t deadline)
{
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || clock_now_ms() >= deadline)
			return -1;
		poll(NULL, 0, LOCK_RETRY_MS);
	}
	return 0;
}

static int open_lock(const char *name, bool *created)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_CREAT;
	int fd = open(name, flags | O_EXCL, 0600);

	*created = fd >= 0;
	return fd >= 0 || errno != EEXIST ? fd : open(name, flags, 0600);
}

int file_lock(const char *path, uint64_t deadline, struct error *error)
{
	char name[PATH_MAX];
	struct stat status;
	bool created;
	int fd, saved;

	if (append_suffix(path, ".lock", name) != 0)
		return fail(error, "lock", path, ENAMETOOLONG);
	for (;;) {
		fd = open_lock(name, &created);
		if (fd < 0)
			return fail(error, "open", name, errno);
		if (wait_for_lock(fd, deadline) != 0 || fstat(fd, &status) != 0)
			break;
		/* Its last holder may have removed it; then the lock file is another one now. */
		if (status.st_nlink > 0)
			return fd;
		close(fd);
	}
	saved = errno;
	/* One that was there before may be another process's. */
	if (created)
		unlink(name);
	close(fd);
	return fail(error, "lock", path, saved);
}

void file_unlock(const char *path, int lock)
{
	char name[PATH_MAX];

	/* Removed before it is unlocked, so that a process that waits for it finds it gone. */
	if (append_suffix(path, ".lock", name) == 0)
		unlink(name);
	close(lock);
}
