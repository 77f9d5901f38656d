/*
 * Fuzzes the key file, the only secret that is read from a disk: a line that is taken is one that
 * is written again, and the whole file is taken when all of its lines are and no name comes three
 * times.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "natpunch/os/key_file.h"

/* How many keys there are, or -1 where a line is wrong. */
static long count_keys(const char *data, size_t size)
{
	struct key_reader file = {.data = data, .size = size};
	const char *problem = NULL;
	struct key key, again;
	long count = 0;

	for (;;) {
		char line[KEY_LINE_SIZE];
		struct key_reader one = {.data = line};
		unsigned before = file.line;

		switch (key_reader_next(&file, &key, &problem)) {
		case KEY_READER_END:
			return count;
		case KEY_READER_BAD:
			fuzz_check(problem != NULL && file.line > 0);
			return -1;
		case KEY_READER_KEY:
			break;
		}
		fuzz_check(file.line > before && file.offset <= size);
		fuzz_check(key_is_name(key.name, strlen(key.name)));
		one.size = strlen(key_format(&key, line));
		fuzz_check(key_reader_next(&one, &again, &problem) == KEY_READER_KEY);
		fuzz_check(strcmp(key.name, again.name) == 0);
		fuzz_check(memcmp(key.secret, again.secret, sizeof(key.secret)) == 0);
		count++;
	}
}

static bool are_sorted(const struct key_file *keys)
{
	for (size_t i = 1; i < keys->count; i++)
		if (strcmp(keys->rows[i - 1].name, keys->rows[i].name) > 0 ||
			(i > 1 && strcmp(keys->rows[i - 2].name, keys->rows[i].name) == 0))
			return false;
	return true;
}

static void check_whole(const uint8_t *data, size_t size, long count)
{
	char path[32];
	struct error error;
	struct key_file keys;
	int fd = memfd_create("keys", 0);

	fuzz_check(fd >= 0 && fchmod(fd, 0600) == 0);
	fuzz_check(write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (key_file_load(path, &keys, &error) != 0) {
		fuzz_check(error.status == EXIT_STATUS_LOCAL && error.text[0] != '\0');
		fuzz_check(count < 0 || count > 2);
	} else {
		fuzz_check(count == (long)keys.count && are_sorted(&keys));
		for (size_t i = 0; i < keys.count; i++) {
			const char *name = keys.rows[i].name;
			bool is_old = i > 0 && strcmp(keys.rows[i - 1].name, name) == 0;

			fuzz_check(key_file_find(&keys, name) == &keys.rows[i - is_old]);
		}
		key_file_free(&keys);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_whole(data, size, count_keys((const char *)data, size));
	return 0;
}
