#include "cmd/probe_record.h"

#include <string.h>
#include <sys/types.h>

#include "natpunch/base/text.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/file.h"

#define RECORD_MODE     0644
#define LOCK_TIMEOUT_MS 5000

static const char not_told[] = "# not told\n";
#define NOT_TOLD_SIZE (sizeof(not_told) - 1)

/* Takes the second line away, and says whether it was there. */
static bool cut_not_told(const char *data, size_t *size)
{
	if (*size < NOT_TOLD_SIZE ||
		memcmp(data + *size - NOT_TOLD_SIZE, not_told, NOT_TOLD_SIZE) != 0)
		return false;
	*size -= NOT_TOLD_SIZE;
	return true;
}

int probe_record_read(const char *path, struct probe_record *out, struct error *error)
{
	char data[MAPPING_RECORD_SIZE + NOT_TOLD_SIZE];
	char safe[160];
	int missing;
	ssize_t got = file_read(path, data, sizeof(data), &missing, error);
	size_t size = got > 0 ? (size_t)got : 0;

	out->known = false;
	if (got < 0)
		return -1;
	if (missing)
		return 0;
	out->told = !cut_not_told(data, &size);
	if (mapping_decode_record(&out->mapping, data, size) == 0) {
		out->known = true;
		return 0;
	}
	text_escape(safe, sizeof(safe), path, strlen(path));
	error_set(error, EXIT_STATUS_LOCAL, "%s does not hold a mapping", safe);
	return error_hint(error, "it is left as it is; remove it to begin anew");
}

int probe_record_write(
	const char *path, const struct mapping *mapping, bool told, struct error *error)
{
	char data[MAPPING_RECORD_SIZE + NOT_TOLD_SIZE];
	size_t size;

	if (mapping_encode_record(mapping, data) != 0)
		return error_set(error, EXIT_STATUS_BUG, "the mapping does not fit its record");
	size = strlen(data);
	if (!told) {
		memcpy(data + size, not_told, NOT_TOLD_SIZE);
		size += NOT_TOLD_SIZE;
	}
	return file_replace(path, data, size, RECORD_MODE, error);
}

int probe_record_lock(const char *path, struct error *error)
{
	return file_lock(path, clock_now_ms() + LOCK_TIMEOUT_MS, error);
}

int probe_record_note(
	const char *path, const struct mapping *mapping, bool told, struct error *error)
{
	struct probe_record record;
	int lock = probe_record_lock(path, error);
	int result;

	if (lock < 0)
		return -1;
	result = probe_record_read(path, &record, error);
	if (result == 0 && record.known && record.told != told &&
		mapping_equal(&record.mapping, mapping))
		result = probe_record_write(path, mapping, told, error);
	file_unlock(path, lock);
	return result;
}
