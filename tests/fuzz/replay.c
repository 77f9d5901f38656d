/*
 * A main for the fuzz harnesses where there is no libFuzzer, included in front of each: hands each
 * file of its corpus to LLVMFuzzerTestOneInput(), as it is, cut at each length, and with each bit
 * flipped. The bytes end at a page that nobody may touch. A check that does not hold aborts, which
 * leaves the TAP without its plan.
 */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* One of many in a program. */
static int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#include "fuzz.h"
#include "property/guard.h"
#include "tap.h"

#define SIZE_MOST 65536
#define CUT_MOST  2048 /* larger files are not varied */

static uint8_t replayed[SIZE_MOST];

static void vary(const struct guard *guard, size_t size)
{
	for (size_t cut = 0; cut < size; cut++)
		LLVMFuzzerTestOneInput(guard_copy_end(guard, replayed, cut), cut);
	for (size_t bit = 0; bit < 8 * size; bit++) {
		uint8_t *bytes = guard_copy_end(guard, replayed, size);

		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		LLVMFuzzerTestOneInput(bytes, size);
	}
}

static void replay_file(const struct guard *guard, const char *directory, const char *name)
{
	char path[4096];
	FILE *file;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "rb");
	if (!file) {
		fail("%s: %s", path, strerror(errno));
		return;
	}
	size = fread(replayed, 1, sizeof(replayed), file);
	if (ferror(file) || !feof(file)) {
		fail("%s: cannot be read whole", path);
		fclose(file);
		return;
	}
	fclose(file);
	LLVMFuzzerTestOneInput(guard_copy_end(guard, replayed, size), size);
	if (size <= CUT_MOST)
		vary(guard, size);
	ok(true, "%s", path);
}

static unsigned replay_directory(const struct guard *guard, const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	unsigned count = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		replay_file(guard, path, entry->d_name);
		count++;
	}
	closedir(directory);
	return count;
}

int main(void)
{
	static const char harness[] = __BASE_FILE__; /* tests/fuzz/NAME.c */
	struct guard guard = guard_make(SIZE_MOST);
	char corpus[256];

	snprintf(corpus, sizeof(corpus), "tests/fuzz/corpus/%.*s",
		(int)(sizeof(harness) - sizeof("tests/fuzz/.c")), harness + strlen("tests/fuzz/"));
	ok(replay_directory(&guard, corpus) > 0, "%s has a corpus", corpus);
	return done_testing();
}
