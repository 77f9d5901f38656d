#include "cmd/probe_record.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "natpunch/base/text.h"
#include "natpunch/os/clock.h"
#include "natpunch/os/file.h"

#define RECORD_MODE     0644
#define LOCK_TIMEOUT_MS 5000

static const char not_told[] = "# not told\n";
#define NOT_TOLD_SIZE (sizeof(not_told) - 1)
#define FILE_SIZE     (2 * (MAPPING_RECORD_SIZE + NOT_TOLD_SIZE))

struct probe_record *probe_record_of(struct probe_records *records, const struct mapping *mapping)
{
	return mapping->public_addr.family == ADDR_IPV6 ? &records->ipv6 : &records->ipv4;
}

static bool begins_with_not_told(const char *data, size_t size)
{
	return size >= NOT_TOLD_SIZE && memcmp(data, not_told, NOT_TOLD_SIZE) == 0;
}

/* One record, from the beginning of the data. Returns its size, or 0 when there is none. */
static size_t take_record(struct probe_records *records, const char *data, size_t size)
{
	const char *end = memchr(data, '\n', size);
	struct probe_record record = {.known = true, .told = true};
	struct probe_record *place;
	size_t used;

	if (end == NULL)
		return 0;
	used = (size_t)(end - data) + 1;
	if (mapping_decode_record(&record.mapping, data, used) != 0)
		return 0;
	if (begins_with_not_told(data + used, size - used)) {
		record.told = false;
		used += NOT_TOLD_SIZE;
	}
	place = probe_record_of(records, &record.mapping);
	if (place->known || records->ipv4.known)
		return 0;
	*place = record;
	return used;
}

int probe_record_read(const char *path, struct probe_records *out, struct error *error)
{
	char data[FILE_SIZE];
	char safe[160];
	int missing;
	ssize_t got = file_read(path, data, sizeof(data), &missing, error);
	size_t size = got > 0 ? (size_t)got : 0;
	size_t at = 0;
	size_t used;

	memset(out, 0, sizeof(*out));
	if (got < 0)
		return -1;
	if (missing)
		return 0;
	do {
		used = take_record(out, data + at, size - at);
		at += used;
	} while (used > 0 && at < size);
	if (used > 0)
		return 0;
	text_escape(safe, sizeof(safe), path, strlen(path));
	error_set(error, EXIT_STATUS_LOCAL, "%s does not hold a mapping", safe);
	return error_hint(error, "it is left as it is; remove it to begin anew");
}

/* Returns how many bytes it puts into `out`, or -1. */
static int put_record(const struct probe_record *record, char *out)
{
	size_t size;

	if (!record->known)
		return 0;
	if (mapping_encode_record(&record->mapping, out) != 0)
		return -1;
	size = strlen(out);
	if (record->told)
		return (int)size;
	memcpy(out + size, not_told, NOT_TOLD_SIZE);
	return (int)(size + NOT_TOLD_SIZE);
}

int probe_record_write(const char *path, const struct probe_records *records, struct error *error)
{
	char data[FILE_SIZE];
	int first = put_record(&records->ipv6, data);
	int second = first < 0 ? -1 : put_record(&records->ipv4, data + first);

	if (second < 0)
		return error_set(error, EXIT_STATUS_BUG, "the mapping does not fit its record");
	return file_replace(path, data, (size_t)first + (size_t)second, RECORD_MODE, error);
}

uint64_t probe_record_age(const char *path)
{
	uint64_t now = clock_wall_seconds();
	struct stat status;

	if (stat(path, &status) != 0 || status.st_mtime < 0 || (uint64_t)status.st_mtime > now)
		return 0;
	return now - (uint64_t)status.st_mtime;
}

int probe_record_lock(const char *path, struct error *error)
{
	return file_lock(path, clock_now_ms() + LOCK_TIMEOUT_MS, error);
}

int probe_record_note(
	const char *path, const struct mapping *mapping, bool told, struct error *error)
{
	struct probe_records records;
	struct probe_record *record = probe_record_of(&records, mapping);
	int lock = probe_record_lock(path, error);
	int result;

	if (lock < 0)
		return -1;
	result = probe_record_read(path, &records, error);
	if (result == 0 && record->known && record->told != told &&
		mapping_equal(&record->mapping, mapping)) {
		record->told = told;
		result = probe_record_write(path, &records, error);
	}
	file_unlock(path, lock);
	return result;
}
