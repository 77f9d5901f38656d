/*
 * Fuzzes the reflector's state file. What is taken is what would be written, to the byte; a file
 * that is damaged is set aside and not read in part; and whatever was there, the reflector starts
 * and leaves an undamaged file.
 *
 * No fuzzer guesses a SHA-256. With an odd first byte, the rest gets the last line that belongs to
 * it; with an even one it stays as it is. With 2 and 3 the reflector also starts with it, which
 * takes some thousand times as long.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "natpunch/os/log.h"
#include "reflector/registry_format.h"
#include "reflector/registry_file.h"

#define NOW_MS 1000000000U

static struct registry registry;
static char path[64];

static void start(void)
{
	static struct key rows[] = {{.name = "attic"}, {.name = "home"}};
	const struct key_file keys = {.rows = rows, .count = 2};
	char directory[] = "/dev/shm/natpunch-fuzz-XXXXXX";

	log_set_level(LOG_LEVEL_QUIET);
	fuzz_check(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/state", directory);
	fuzz_check(registry_open(&registry) == 0);
	registry_set_keys(&registry, &keys);
}

static void end(void)
{
	char other[80];

	unlink(path);
	snprintf(other, sizeof(other), "%s.damaged", path);
	unlink(other);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static void write_file(const char *data, size_t size)
{
	FILE *file = fopen(path, "wb");

	fuzz_check(file != NULL && fwrite(data, 1, size, file) == size);
	fuzz_check(fclose(file) == 0);
}

/* Returns how many records there are, or -1 where the file is damaged. */
static long check_records(const char *data, size_t size)
{
	struct registry_reader reader;
	struct registry_record record;
	const char *problem = NULL;
	char line[REGISTRY_FORMAT_RECORD_SIZE];
	long count = 0;
	int result;

	if (registry_format_check(&reader, data, size, &problem) != 0) {
		fuzz_check(problem != NULL);
		return -1;
	}
	for (;;) {
		const char *at = reader.data + reader.offset;
		size_t written;

		result = registry_format_next(&reader, &record);
		if (result <= 0)
			return result < 0 ? -1 : count;
		written = registry_format_write_record(&record, line);
		fuzz_check(written == (size_t)(reader.data + reader.offset - at));
		fuzz_check(memcmp(line, at, written) == 0);
		count++;
	}
}

static void check_start(const char *data, size_t size, long count)
{
	static char again[65536];
	struct registry_file state;
	struct error error;
	char other[80];
	FILE *file;

	write_file(data, size);
	snprintf(other, sizeof(other), "%s.damaged", path);
	unlink(other);
	fuzz_check(registry_file_open(&state, path, &registry, NOW_MS, &error) == 0);
	fuzz_check((access(other, F_OK) == 0) == (count < 0));
	file = fopen(path, "rb");
	fuzz_check(file != NULL);
	size = fread(again, 1, sizeof(again), file);
	fclose(file);
	fuzz_check(check_records(again, size) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char file[8192];
	size_t used;
	long count;

	if (path[0] == '\0') {
		start();
		atexit(end);
	}
	if (size < 1 || size > sizeof(file) - REGISTRY_FORMAT_TAIL_SIZE)
		return 0;
	used = size - 1;
	memcpy(file, data + 1, used);
	if (data[0] & 1)
		used += registry_format_write_tail(file, used, file + used);
	count = check_records(file, used);
	if (data[0] == 2 || data[0] == 3)
		check_start(file, used, count);
	return 0;
}
