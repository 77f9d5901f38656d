/*
 * A child process writes the file, one at a time, so that a slow disk holds up no client. It does
 * not write for every change: at once after a quiet time, else REGISTRY_FILE_SAVE_DELAY_MS after
 * the last time (with many names as many milliseconds as names, up to
 * REGISTRY_FILE_SAVE_DELAY_MAX_MS). The file is replaced as a whole: whatever process is killed, it
 * holds the state before or after. Only the changes of the last moments can be lost, and home
 * registers again.
 */
#include "reflector/registry_file.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/secret.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/file.h"
#include "natpunch/os/log.h"
#include "reflector/registry_format.h"
#include "natpunch/base/text.h"

#define STATE_MODE 0600
#define FILE_MAX                                                                                   \
	(REGISTRY_FORMAT_HEAD_SIZE + REGISTRY_FORMAT_TAIL_SIZE +                                   \
		(size_t)KEY_FILE_MAX * REGISTRY_PLACES * REGISTRY_FORMAT_RECORD_SIZE)

const struct sandbox_call registry_file_calls[] = {
	SANDBOX_WHEN(prctl, 0, SANDBOX_WHOLE, PR_SET_PDEATHSIG),
#ifdef __NR_close_range
	SANDBOX_CALL(close_range),
#endif
	SANDBOX_END,
};

/* key_number() of the name's new key, or of its old one. */
static uint32_t number_key(const struct registry_entry *entry, bool old)
{
	struct key key = entry->key;
	uint32_t number;

	memcpy(key.secret, registry_secret(entry, old), sizeof(key.secret));
	number = key_number(&key);
	secret_wipe(&key, sizeof(key));
	return number;
}

/* The whole file as it ought to be now, to be freed; NULL without memory. */
static char *compose(const struct registry *registry, uint64_t now, size_t *size)
{
	uint64_t wall = clock_wall_seconds();
	uint32_t count = 0;
	char *data, *at;

	for (uint32_t i = 0; i < registry->fresh * REGISTRY_PLACES; i++)
		count += registry_is_known(
			&registry->entries[i / REGISTRY_PLACES].places[i % REGISTRY_PLACES], now);
	data = malloc(REGISTRY_FORMAT_HEAD_SIZE + REGISTRY_FORMAT_TAIL_SIZE +
		      (size_t)count * REGISTRY_FORMAT_RECORD_SIZE);
	if (data == NULL)
		return NULL;
	at = data + registry_format_write_head(count, data);
	for (uint32_t i = 0; i < registry->fresh * REGISTRY_PLACES; i++) {
		const struct registry_entry *entry = &registry->entries[i / REGISTRY_PLACES];
		const struct registry_place *place = &entry->places[i % REGISTRY_PLACES];
		struct registry_record record;
		uint64_t age = registry_age(place, now);

		if (!registry_is_known(place, now))
			continue;
		memcpy(record.name, entry->key.name, sizeof(record.name));
		record.addr = place->addr;
		record.protocol = (enum mapping_protocol)place->protocol;
		record.local_port = place->local_port;
		/* A connection, and what it promises, does not outlive this process. */
		record.seconds = place->slot != REGISTRY_NONE ? 0 : place->seconds;
		record.heard = age < wall ? wall - age : 0;
		record.key = number_key(entry, place->by_old);
		at += registry_format_write_record(&record, at);
	}
	at += registry_format_write_tail(data, (size_t)(at - data), at);
	*size = (size_t)(at - data);
	return data;
}

/* Returns 0, or -1 with *error filled, and errno. */
static int write_file(
	const char *path, const struct registry *registry, uint64_t now, struct error *error)
{
	size_t size;
	char *data = compose(registry, now, &size);
	int result, saved;

	if (data == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory to write the registry");
	result = file_replace_alone(path, data, size, STATE_MODE, error);
	saved = errno;
	free(data);
	errno = saved;
	return result;
}

static void take_record(struct registry *registry, const struct registry_record *record,
	uint64_t wall, uint64_t now)
{
	uint32_t entry = registry_find(registry, record->name);
	const struct registry_entry *known;
	uint64_t age = record->heard < wall ? wall - record->heard : 0;
	struct registry_place place = {
		.addr = record->addr,
		.heard = (int64_t)now - (int64_t)(age * 1000),
		.slot = REGISTRY_NONE,
		.local_port = record->local_port,
		.seconds = record->seconds,
		.protocol = (uint8_t)record->protocol,
	};

	if (entry == REGISTRY_NONE) {
		log_detail("forgotten, as it has no key: %s", record->name);
		return;
	}
	known = &registry->entries[entry];
	place.by_old = record->key != number_key(known, false);
	if (place.by_old && !(known->has_old && record->key == number_key(known, true)))
		log_detail("forgotten, as its key is another one now: %s", record->name);
	else
		registry_put(registry, entry, &place);
}

/* Reads all or nothing: the records are gone through once before any is taken. */
static int take_records(struct registry *registry, const struct registry_reader *reader,
	uint64_t now, const char **problem)
{
	uint64_t wall = clock_wall_seconds();
	struct registry_record record;
	struct registry_reader pass = *reader;
	int result;

	while ((result = registry_format_next(&pass, &record)) > 0)
		continue;
	*problem = "a line is no record";
	if (result < 0)
		return -1;
	pass = *reader;
	while (registry_format_next(&pass, &record) > 0)
		take_record(registry, &record, wall, now);
	return 0;
}

static int read_file(const char *path, struct registry *registry, uint64_t now, struct error *error)
{
	struct registry_reader reader;
	const char *problem;
	char safe[160];
	char *data;
	size_t size;

	if (file_read_whole(path, FILE_MAX, &data, &size, error) != 0)
		return -1;
	if (data == NULL)
		return 0;
	if (registry_format_check(&reader, data, size, &problem) == 0 &&
		take_records(registry, &reader, now, &problem) == 0) {
		free(data);
		return 0;
	}
	free(data);
	if (file_set_aside(path, error) != 0)
		return -1;
	text_escape(safe, sizeof(safe), path, strlen(path));
	log_warning("%s is damaged (%s); it is now %s.damaged, and no name is known", safe, problem,
		safe);
	return 0;
}

int registry_file_open(struct registry_file *state, const char *path, struct registry *registry,
	uint64_t now, struct error *error)
{
	*state = (struct registry_file){.path = path, .due = TIMER_NONE};
	state->refresh = now + REGISTRY_FILE_SAVE_REFRESH_MS;
	state->last = now;
	if (path == NULL)
		return 0;
	if (read_file(path, registry, now, error) != 0)
		return -1;
	registry->changed = false;
	/* Fails at the start, and not when there is something to lose. A full disk is no reason not
	 * to serve: there may be room again later. */
	if (write_file(path, registry, now, error) == 0)
		return 0;
	if (errno != ENOSPC && errno != EDQUOT)
		return -1;
	log_warning("%s", error->text);
	registry->changed = true;
	return 0;
}

uint64_t registry_file_next(struct registry_file *state, struct registry *registry, uint64_t now)
{
	uint64_t delay = registry->count;

	if (state->path == NULL || state->writer != 0)
		return TIMER_NONE;
	if (delay < REGISTRY_FILE_SAVE_DELAY_MS)
		delay = REGISTRY_FILE_SAVE_DELAY_MS;
	if (delay > REGISTRY_FILE_SAVE_DELAY_MAX_MS)
		delay = REGISTRY_FILE_SAVE_DELAY_MAX_MS;
	if (registry->changed && state->due == TIMER_NONE)
		state->due = state->last + delay > now ? state->last + delay : now;
	return state->due < state->refresh ? state->due : state->refresh;
}

/*
 * The child closes what it inherits, or a listener would outlive the parent; and it ends with the
 * parent: a new reflector must not meet the writer of an old one.
 */
static void run_writer(
	const char *path, const struct registry *registry, uint64_t now, pid_t parent)
{
	struct error error;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(1);
#ifdef SYS_close_range
	syscall(SYS_close_range, 3U, ~0U, 0U);
#endif
	if (write_file(path, registry, now, &error) == 0)
		_exit(0);
	log_warning("%s", error.text);
	_exit(1);
}

void registry_file_save(struct registry_file *state, struct registry *registry, uint64_t now)
{
	pid_t parent;

	if (state->path == NULL || state->writer != 0 || (now < state->due && now < state->refresh))
		return;
	parent = getpid();
	state->refresh = now + REGISTRY_FILE_SAVE_REFRESH_MS;
	state->due = TIMER_NONE;
	state->last = now;
	registry->changed = false;
	state->writer = fork();
	if (state->writer == 0)
		run_writer(state->path, registry, now, parent);
	if (state->writer > 0)
		return;
	log_warning("cannot start a process to write the registry: %s", strerror(errno));
	state->writer = 0;
	state->due = now + REGISTRY_FILE_SAVE_RETRY_MS;
	registry->changed = true;
}

static void note_end(
	struct registry_file *state, struct registry *registry, int status, uint64_t now)
{
	state->writer = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	registry->changed = true;
	state->due = now + REGISTRY_FILE_SAVE_RETRY_MS;
}

void registry_file_reap(struct registry_file *state, struct registry *registry, uint64_t now)
{
	int status;

	if (state->writer != 0 && waitpid(state->writer, &status, WNOHANG) == state->writer)
		note_end(state, registry, status, now);
}

void registry_file_close(struct registry_file *state, struct registry *registry, uint64_t now)
{
	struct error error;
	int status;

	if (state->path == NULL)
		return;
	if (state->writer != 0) {
		while (waitpid(state->writer, &status, 0) < 0 && errno == EINTR)
			continue;
		note_end(state, registry, status, now);
	}
	if (write_file(state->path, registry, now, &error) != 0)
		log_error("%s", error.text);
	state->path = NULL;
}
