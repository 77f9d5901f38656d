#include "reflector/counters.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/proto/stun.h"

#define ERROR_OFFSET (STUN_HEADER_SIZE + 4) /* of the value of an error's first attribute */

struct row {
	const char *family;
	const char *labels; /* "": the only one of its family */
	const char *help;   /* counts in the family's first row */
};

#define LABELS(transport, kind) "transport=\"" transport "\",kind=\"" kind "\""

#define ROW_ONE(id, family, labels, help) [COUNTER_##id] = {family, labels, help},
#define ROW_KIND(kind, label, id, family, transport, help)                                         \
	[COUNTER_##id + COUNTERS_##kind] = {family, LABELS(transport, label), help},
#define ROW_BLOCK(id, family, transport, help)                                                     \
	COUNTERS_KIND_LIST(ROW_KIND, id, family, transport, help)                                  \
	ROW_KIND(OTHER, "other", id, family, transport, help)
#define ROW_CODE(code, family, help) [COUNTER_ERROR_##code] = {family, "code=\"" #code "\"", help},
#define ROW_ERRORS(family, help)                                                                   \
	COUNTERS_ERROR_LIST(ROW_CODE, family, help)                                                \
	[COUNTER_ERROR_OTHER] = {family, "code=\"other\"", help},

static const struct row rows[COUNTER_COUNT] = {COUNTERS_LIST(ROW_ONE, ROW_BLOCK, ROW_ERRORS)};

enum counters_kind counters_kind_of(uint16_t method)
{
#define KIND_CASE(kind, label, unused)                                                             \
	case STUN_METHOD_##kind:                                                                   \
		return COUNTERS_##kind;

	switch (method) {
		COUNTERS_KIND_LIST(KIND_CASE, 0)
	default:
		return COUNTERS_OTHER;
	}
}

static enum counter counter_of_code(unsigned code)
{
#define CODE_CASE(code, unused)                                                                    \
	case code:                                                                                 \
		return COUNTER_ERROR_##code;

	switch (code) {
		COUNTERS_ERROR_LIST(CODE_CASE, 0)
	default:
		return COUNTER_ERROR_OTHER;
	}
}

/* The two bits of the class (RFC 8489 section 5). */
static enum stun_class class_of(const uint8_t *message)
{
	return (enum stun_class)((message[0] & 1) << 1 | (message[1] & 0x10) >> 4);
}

bool count_request(
	struct counters *counters, enum counter requests, const void *message, size_t size)
{
	if (size < STUN_HEADER_SIZE || class_of(message) != STUN_REQUEST)
		return false;
	count_one(counters, (unsigned)requests + counters_kind_of(stun_peek_method(message, size)));
	return true;
}

void count_answer(struct counters *counters, enum counter answers, const void *message, size_t size)
{
	const uint8_t *bytes = message;

	/* Ours begin with their code. */
	if (size >= ERROR_OFFSET + 4 && class_of(message) == STUN_ERROR)
		count_one(counters,
			counter_of_code(bytes[ERROR_OFFSET + 2] * 100U + bytes[ERROR_OFFSET + 3]));
	else
		count_one(counters,
			(unsigned)answers + counters_kind_of(stun_peek_method(message, size)));
}

void counters_add(struct counters *sum, const struct counters *part)
{
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		sum->values[i] += relaxed_counter_load(&part->values[i]);
}

const char *counters_format(
	const struct counters *counters, enum counter which, char out[COUNTERS_LINE_SIZE])
{
	const struct row *row = &rows[which];
	bool has_labels = row->labels[0] != '\0';

	snprintf(out, COUNTERS_LINE_SIZE, "natpunch_%s%s%s%s %" PRIu64, row->family,
		has_labels ? "{" : "", row->labels, has_labels ? "}" : "", counters->values[which]);
	return out;
}

static bool begins_family(unsigned which)
{
	return which == 0 || strcmp(rows[which].family, rows[which - 1].family) != 0;
}

/* The longest lines are of 47 + 24 + 20 characters; a family's heads of fewer than 160. */
/* NOLINTBEGIN(bugprone-macro-parentheses): each is a term of one sum. */
#define HEAD_ONE(id, family, labels, help) +(sizeof(help) > 1)
#define HEAD_ERRORS(family, help)          +(sizeof(help) > 1)
/* NOLINTEND(bugprone-macro-parentheses) */
static_assert(COUNTER_COUNT * 96 + (COUNTERS_LIST(HEAD_ONE, HEAD_ONE, HEAD_ERRORS)) * 192 <
		      COUNTERS_TEXT_SIZE,
	"all of it fits");

size_t counters_write(const struct counters *counters, char out[COUNTERS_TEXT_SIZE])
{
	char line[COUNTERS_LINE_SIZE];
	size_t used = 0;

	for (unsigned which = 0; which < COUNTER_COUNT; which++) {
		const struct row *row = &rows[which];

		if (begins_family(which))
			used += (size_t)snprintf(out + used, COUNTERS_TEXT_SIZE - used,
				"# HELP natpunch_%s %s\n# TYPE natpunch_%s %s\n", row->family,
				row->help, row->family,
				which >= COUNTER_CONNECTIONS ? "gauge" : "counter");
		used += (size_t)snprintf(out + used, COUNTERS_TEXT_SIZE - used, "%s\n",
			counters_format(counters, (enum counter)which, line));
	}
	return used;
}
