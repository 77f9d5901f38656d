/*
 * counters.h - what a reflector has done so far, and how full its tables are.
 *
 * One array of numbers, which whoever does something adds to; no locks, and no names are looked up.
 * They are written as samples of the text format that Prometheus reads (version 0.0.4), a line each
 *
 *   natpunch_requests_total{transport="udp",kind="binding"} 12
 *
 * The names are a contract, told in natpunch-reflect(1): none is ever given another meaning.
 */
#ifndef NATPUNCH_REFLECTOR_COUNTERS_H
#define NATPUNCH_REFLECTOR_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/relaxed_counter.h"

/* What was asked, for STUN over UDP and TCP: the offset from the first of a block. */
enum counters_kind {
	COUNTERS_BINDING,
	COUNTERS_REGISTER,
	COUNTERS_LOOKUP,
	COUNTERS_CONNECT,
	COUNTERS_RELAY,
	COUNTERS_JOIN,
	COUNTERS_DIAL,
	COUNTERS_OTHER, /* a method that nobody knows */
	COUNTERS_KINDS,
};

enum counter {
	/* natpunch_requests_total */
	COUNTER_UDP_REQUESTS, /* and enum counters_kind */
	COUNTER_TCP_REQUESTS = COUNTER_UDP_REQUESTS + COUNTERS_KINDS,
	COUNTER_LINE_REQUESTS = COUNTER_TCP_REQUESTS + COUNTERS_KINDS,
	COUNTER_HTTP_REQUESTS,
	COUNTER_RAW_REQUESTS,
	/* natpunch_answers_total: those that are no errors */
	COUNTER_UDP_ANSWERS,
	COUNTER_TCP_ANSWERS = COUNTER_UDP_ANSWERS + COUNTERS_KINDS,
	COUNTER_LINE_ANSWERS = COUNTER_TCP_ANSWERS + COUNTERS_KINDS,
	COUNTER_HTTP_ANSWERS,
	COUNTER_RAW_ANSWERS,
	/* natpunch_errors_total */
	COUNTER_ERROR_400,
	COUNTER_ERROR_401,
	COUNTER_ERROR_403,
	COUNTER_ERROR_420,
	COUNTER_ERROR_438,
	COUNTER_ERROR_447,
	COUNTER_ERROR_486,
	COUNTER_ERROR_508,
	COUNTER_ERROR_OTHER,
	/* natpunch_ignored_total */
	COUNTER_UDP_UNREADABLE,
	COUNTER_UDP_NOT_STUN,
	COUNTER_UDP_NO_REQUEST,
	COUNTER_RAW_UNFIT,
	/* natpunch_overflows_total: dropped by the kernel, because its buffer was full */
	COUNTER_OVERFLOWS,
	/* natpunch_connections_total */
	COUNTER_ACCEPTED,
	COUNTER_NO_DESCRIPTOR,
	/* natpunch_connections_ended_total; all of them and COUNTER_CONNECTIONS are ACCEPTED */
	COUNTER_ENDED_DONE,
	COUNTER_ENDED_EVICTED,
	COUNTER_ENDED_FORGOTTEN,
	COUNTER_ENDED_IDLE,
	COUNTER_ENDED_NO_ROOM,
	COUNTER_ENDED_RELAYED,
	COUNTER_ENDED_SLOW,
	COUNTER_ENDED_UNKNOWN,
	/* natpunch_limited_total */
	COUNTER_LIMITED_CONNECTION,
	COUNTER_LIMITED_HOLD,
	COUNTER_LIMITED_NAME,
	COUNTER_LIMITED_SOURCE,
	/* natpunch_sources_dropped_total: for want of room in the table */
	COUNTER_SOURCES_DROPPED,
	/* natpunch_dials_total */
	COUNTER_DIAL_CLOSED,
	COUNTER_DIAL_CONNECTED,
	COUNTER_DIAL_FAILED,
	COUNTER_DIAL_REFUSED,
	COUNTER_DIAL_TIMED_OUT,
	COUNTER_DIAL_UNREACHABLE,
	/* natpunch_dial_refusals_total */
	COUNTER_NO_DIAL_BUSY,
	COUNTER_NO_DIAL_FORBIDDEN,
	COUNTER_NO_DIAL_NO_PLACE,
	COUNTER_NO_DIAL_OFF,
	COUNTER_NO_DIAL_OFTEN,
	/* natpunch_invitations_total */
	COUNTER_INVITED,
	COUNTER_NOT_INVITED,
	/* natpunch_relays_total, natpunch_relayed_bytes_total */
	COUNTER_RELAYS_BEGUN,
	COUNTER_RELAYED_TO_HOME,
	COUNTER_RELAYED_FROM_HOME,
	/* natpunch_log_lines_suppressed_total */
	COUNTER_LOG_SUPPRESSED,
	/* From here on: how many there are now. natpunch_entries */
	COUNTER_CONNECTIONS,
	COUNTER_DIALS,
	COUNTER_HELD,
	COUNTER_NAMES,
	COUNTER_RELAYS,
	COUNTER_SOURCES,
	/* natpunch_capacity: how many there can be, in the same order */
	COUNTER_CONNECTIONS_MAX,
	COUNTER_DIALS_MAX,
	COUNTER_HELD_MAX,
	COUNTER_NAMES_MAX,
	COUNTER_RELAYS_MAX,
	COUNTER_SOURCES_MAX,
	COUNTER_COUNT,
};

/* Each is written by one thread, and may be read by another. */
struct counters {
	uint64_t values[COUNTER_COUNT];
};

/* Where what is done by a module of its own need not be counted, `counters` is NULL. */
static inline void count_many(struct counters *counters, unsigned which, uint64_t number)
{
	if (counters != NULL)
		relaxed_counter_store(&counters->values[which], counters->values[which] + number);
}

/* What is not counted as it happens. */
static inline void count_set(struct counters *counters, unsigned which, uint64_t number)
{
	relaxed_counter_store(&counters->values[which], number);
}

static inline void count_one(struct counters *counters, unsigned which)
{
	count_many(counters, which, 1);
}

/* The kind of a STUN message, told by its method (stun_peek_method()). */
enum counters_kind counters_kind_of(uint16_t method);

/*
 * A STUN message that came: one of the block `requests`. Returns false, with nothing counted, when
 * it is no request.
 */
bool count_request(
	struct counters *counters, enum counter requests, const void *message, size_t size);

/* One that is sent: one of the block `answers` or, when it is an error, by its code. */
void count_answer(
	struct counters *counters, enum counter answers, const void *message, size_t size);

/* Adds up what was done by several. */
void counters_add(struct counters *sum, const struct counters *part);

#define COUNTERS_LINE_SIZE 128   /* longest of a sample, with a NUL */
#define COUNTERS_TEXT_SIZE 16384 /* longest of all */

/* "NAME{LABELS} VALUE", without a line break. Returns out. */
const char *counters_format(
	const struct counters *counters, enum counter which, char out[COUNTERS_LINE_SIZE]);

/* All samples, with HELP and TYPE before each family. Returns the length; a NUL stands behind. */
size_t counters_write(const struct counters *counters, char out[COUNTERS_TEXT_SIZE]);

#endif
