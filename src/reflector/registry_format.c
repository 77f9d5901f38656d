/*
 * registry_format.c - the registry's state file as text.
 *
 * A line is read leniently, encoded again and compared with what was read, so that each record has
 * one text and no second rule could drift from the first.
 */
#include "reflector/registry_format.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/sha256.h"

#define MAGIC     "natpunch-registry-2 "
#define TAIL_WORD "sha256 "
#define TAIL_SIZE (sizeof(TAIL_WORD) - 1 + 2 * SHA256_SIZE + 1)
#define WORDS     8

size_t registry_format_write_head(uint32_t count, char out[REGISTRY_FORMAT_HEAD_SIZE])
{
	return (size_t)snprintf(out, REGISTRY_FORMAT_HEAD_SIZE, MAGIC "%u\n", (unsigned)count);
}

size_t registry_format_write_record(
	const struct registry_record *record, char out[REGISTRY_FORMAT_RECORD_SIZE])
{
	char ip[ADDR_IP_TEXT_SIZE];

	return (size_t)snprintf(out, REGISTRY_FORMAT_RECORD_SIZE, "%s %s %s %u %u %u %llu %u\n",
		record->name, mapping_protocol_name(record->protocol),
		addr_format_ip(&record->addr, ip), record->addr.port, record->local_port,
		record->seconds, (unsigned long long)record->heard, (unsigned)record->key);
}

size_t registry_format_write_tail(
	const void *before, size_t size, char out[REGISTRY_FORMAT_TAIL_SIZE])
{
	uint8_t hash[SHA256_SIZE];
	struct sha256 state;
	size_t used = sizeof(TAIL_WORD) - 1;

	sha256_start(&state);
	sha256_update(&state, before, size);
	sha256_finish(&state, hash);
	memcpy(out, TAIL_WORD, used);
	for (size_t i = 0; i < sizeof(hash); i++, used += 2)
		snprintf(out + used, 3, "%02x", hash[i]);
	memcpy(out + used, "\n", 2);
	return TAIL_SIZE;
}

/* Copies the next line without its newline; false when there is none that is whole and fits. */
static bool take_line(struct registry_reader *reader, char *out, size_t capacity)
{
	const char *line = reader->data + reader->offset;
	const char *end = memchr(line, '\n', reader->size - reader->offset);
	size_t size = end != NULL ? (size_t)(end - line) : capacity;

	if (size >= capacity || memchr(line, '\0', size) != NULL)
		return false;
	memcpy(out, line, size);
	out[size] = '\0';
	reader->offset += size + 1;
	return true;
}

int registry_format_check(
	struct registry_reader *reader, const void *data, size_t size, const char **problem)
{
	char line[REGISTRY_FORMAT_HEAD_SIZE], again[REGISTRY_FORMAT_HEAD_SIZE],
		tail[REGISTRY_FORMAT_TAIL_SIZE];
	size_t magic = sizeof(MAGIC) - 1;
	uint64_t count;

	*reader = (struct registry_reader){.data = data};
	*problem = "it is cut off";
	if (size < TAIL_SIZE)
		return -1;
	reader->size = size - TAIL_SIZE;
	*problem = "its checksum does not match";
	registry_format_write_tail(data, reader->size, tail);
	if (memcmp(tail, reader->data + reader->size, TAIL_SIZE) != 0)
		return -1;
	*problem = "it is no registry of this version";
	if (!take_line(reader, line, sizeof(line)) || strncmp(line, MAGIC, magic) != 0 ||
		parse_number(line + magic, 0, UINT32_MAX, &count) < 0)
		return -1;
	reader->left = (uint32_t)count;
	if (registry_format_write_head(reader->left, again) != reader->offset ||
		memcmp(again, reader->data, reader->offset) != 0)
		return -1;
	return 0;
}

/* Cuts a line into WORDS words at single blanks, in place. */
static bool split(char *line, char *words[WORDS])
{
	for (size_t i = 0; i < WORDS; i++) {
		words[i] = line;
		line = strchr(line, ' ');
		if ((line == NULL) != (i == WORDS - 1))
			return false;
		if (line != NULL)
			*line++ = '\0';
	}
	return true;
}

static bool parse_u16(const char *text, uint16_t *out)
{
	uint64_t value;

	if (parse_number(text, 0, UINT16_MAX, &value) < 0)
		return false;
	*out = (uint16_t)value;
	return true;
}

static bool parse_record(char *words[WORDS], struct registry_record *out)
{
	size_t size = strlen(words[0]);
	uint64_t key;

	*out = (struct registry_record){.name = ""};
	if (!key_is_name(words[0], size))
		return false;
	memcpy(out->name, words[0], size);
	out->protocol = strcmp(words[1], "udp") == 0 ? MAPPING_UDP : MAPPING_TCP;
	if (parse_number(words[7], 0, UINT32_MAX, &key) != 0)
		return false;
	out->key = (uint32_t)key;
	return addr_parse_ip(&out->addr, words[2]) == 0 &&
	       parse_port(words[3], &out->addr.port) == 0 &&
	       parse_u16(words[4], &out->local_port) && parse_u16(words[5], &out->seconds) &&
	       parse_number(words[6], 0, INT64_MAX / 1000, &out->heard) == 0;
}

int registry_format_next(struct registry_reader *reader, struct registry_record *out)
{
	char line[REGISTRY_FORMAT_RECORD_SIZE], again[REGISTRY_FORMAT_RECORD_SIZE];
	const char *begin = reader->data + reader->offset;
	size_t start = reader->offset;
	char *words[WORDS];

	if (reader->left == 0)
		return reader->offset == reader->size ? 0 : -1;
	if (!take_line(reader, line, sizeof(line)) || !split(line, words) ||
		!parse_record(words, out))
		return -1;
	if (registry_format_write_record(out, again) != reader->offset - start ||
		memcmp(again, begin, reader->offset - start) != 0)
		return -1;
	reader->left--;
	return 1;
}
