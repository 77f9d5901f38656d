/*
 * counters.h - what a reflector has done so far, and how full its tables are.
 *
 * One array of numbers; each module adds to its own. No locks, and no names are looked up.
 * They are written as samples of the text format that Prometheus reads (version 0.0.4), a line each
 *
 *   natpunch_requests_total{transport="udp",kind="binding"} 12
 *
 * The names are a contract, listed in natpunch-reflect(1): a name never gets another meaning.
 */
#ifndef NATPUNCH_REFLECTOR_COUNTERS_H
#define NATPUNCH_REFLECTOR_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/relaxed_counter.h"

/*
 * The one list of them. To add a counter add its line, above those that are gauges (how many there
 * are now, and can be), count it where it happens, and name it in natpunch-reflect(1).
 *
 *   ONE(id, family, labels, help)           COUNTER_id
 *   EACH_KIND(id, family, transport, help)  COUNTER_id + each of enum counters_kind
 *   EACH_ERROR(family, help)                COUNTER_ERROR_code for each code, and for any other
 *
 * Those of a family stand together, and the help of the first one is the family's. With labels ""
 * it is the only one of its family.
 */
#define COUNTERS_LIST(ONE, EACH_KIND, EACH_ERROR)                                                  \
	EACH_KIND(UDP_REQUESTS, "requests_total", "udp", "Questions that came.")                   \
	EACH_KIND(TCP_REQUESTS, "requests_total", "tcp", "")                                       \
	ONE(LINE_REQUESTS, "requests_total", "transport=\"tcp\",kind=\"line\"", "")                \
	ONE(HTTP_REQUESTS, "requests_total", "transport=\"tcp\",kind=\"http\"", "")                \
	ONE(RAW_REQUESTS, "requests_total", "transport=\"raw\",kind=\"syn\"", "")                  \
	EACH_KIND(UDP_ANSWERS, "answers_total", "udp", "Answers that were sent, but for errors.")  \
	EACH_KIND(TCP_ANSWERS, "answers_total", "tcp", "")                                         \
	ONE(LINE_ANSWERS, "answers_total", "transport=\"tcp\",kind=\"line\"", "")                  \
	ONE(HTTP_ANSWERS, "answers_total", "transport=\"tcp\",kind=\"http\"", "")                  \
	ONE(RAW_ANSWERS, "answers_total", "transport=\"raw\",kind=\"syn\"", "")                    \
	EACH_ERROR("errors_total", "STUN errors that were answered.")                              \
	ONE(UDP_UNREADABLE, "ignored_total", "transport=\"udp\",reason=\"unreadable\"",            \
		"Packets that got no answer.")                                                     \
	ONE(UDP_NOT_STUN, "ignored_total", "transport=\"udp\",reason=\"not_stun\"", "")            \
	ONE(UDP_NO_REQUEST, "ignored_total", "transport=\"udp\",reason=\"no_request\"", "")        \
	ONE(RAW_UNFIT, "ignored_total", "transport=\"raw\",reason=\"unfit\"", "")                  \
	ONE(OVERFLOWS, "overflows_total", "transport=\"udp\"",                                     \
		"Datagrams that the kernel dropped, its buffer full.")                             \
	ONE(ACCEPTED, "connections_total", "result=\"accepted\"", "TCP connections that came.")    \
	ONE(NO_DESCRIPTOR, "connections_total", "result=\"no_descriptor\"", "")                    \
	/* All that ended, with COUNTER_CONNECTIONS, are as many as ACCEPTED. */                   \
	ONE(ENDED_DONE, "connections_ended_total", "reason=\"done\"",                              \
		"TCP connections that are over, by why.")                                          \
	ONE(ENDED_EVICTED, "connections_ended_total", "reason=\"evicted\"", "")                    \
	ONE(ENDED_FORGOTTEN, "connections_ended_total", "reason=\"forgotten\"", "")                \
	ONE(ENDED_IDLE, "connections_ended_total", "reason=\"idle\"", "")                          \
	ONE(ENDED_NO_ROOM, "connections_ended_total", "reason=\"no_room\"", "")                    \
	ONE(ENDED_RELAYED, "connections_ended_total", "reason=\"relayed\"", "")                    \
	ONE(ENDED_SLOW, "connections_ended_total", "reason=\"slow\"", "")                          \
	ONE(ENDED_UNKNOWN, "connections_ended_total", "reason=\"unknown\"", "")                    \
	ONE(LIMITED_CONNECTION, "limited_total", "what=\"connection\"",                            \
		"What was put off or refused by a limit.")                                         \
	ONE(LIMITED_HOLD, "limited_total", "what=\"hold\"", "")                                    \
	ONE(LIMITED_NAME, "limited_total", "what=\"name\"", "")                                    \
	ONE(LIMITED_SOURCE, "limited_total", "what=\"source\"", "")                                \
	ONE(DEAD_HELD, "yielded_total", "what=\"held\"",                                           \
		"What was dead and made room for a request that was proven.")                      \
	ONE(DEAD_RELAY, "yielded_total", "what=\"relay\"", "")                                     \
	ONE(DEAD_RELAY_NAME, "yielded_total", "what=\"relay_of_name\"", "")                        \
	ONE(SOURCES_DROPPED, "sources_dropped_total", "", "Sources forgotten for want of room.")   \
	ONE(DIAL_CLOSED, "dials_total", "result=\"closed\"",                                       \
		"Calls back to clients, by what became of them.")                                  \
	ONE(DIAL_CONNECTED, "dials_total", "result=\"connected\"", "")                             \
	ONE(DIAL_FAILED, "dials_total", "result=\"failed\"", "")                                   \
	ONE(DIAL_REFUSED, "dials_total", "result=\"refused\"", "")                                 \
	ONE(DIAL_TIMED_OUT, "dials_total", "result=\"timed_out\"", "")                             \
	ONE(DIAL_UNREACHABLE, "dials_total", "result=\"unreachable\"", "")                         \
	ONE(NO_DIAL_BUSY, "dial_refusals_total", "reason=\"busy\"",                                \
		"Questions for a call that was not made.")                                         \
	ONE(NO_DIAL_FORBIDDEN, "dial_refusals_total", "reason=\"forbidden\"", "")                  \
	ONE(NO_DIAL_NO_PLACE, "dial_refusals_total", "reason=\"no_place\"", "")                    \
	ONE(NO_DIAL_OFF, "dial_refusals_total", "reason=\"off\"", "")                              \
	ONE(NO_DIAL_OFTEN, "dial_refusals_total", "reason=\"often\"", "")                          \
	ONE(INVITED, "invitations_total", "result=\"sent\"",                                       \
		"Initiators that a home was to be told of.")                                       \
	ONE(NOT_INVITED, "invitations_total", "result=\"failed\"", "")                             \
	ONE(RELAYS_BEGUN, "relays_total", "", "Relayed connections that were begun.")              \
	ONE(RELAYED_TO_HOME, "relayed_bytes_total", "direction=\"to_home\"",                       \
		"Bytes that were passed on.")                                                      \
	ONE(RELAYED_FROM_HOME, "relayed_bytes_total", "direction=\"from_home\"", "")               \
	ONE(LOG_SUPPRESSED, "log_lines_suppressed_total", "",                                      \
		"Lines that were too many a second.")                                              \
	/* From here on gauges: how many there are now, and can be, in the same order. */          \
	ONE(CONNECTIONS, "entries", "what=\"connections\"", "How many of what there are now.")     \
	ONE(DIALS, "entries", "what=\"dials\"", "")                                                \
	ONE(HELD, "entries", "what=\"held\"", "")                                                  \
	ONE(NAMES, "entries", "what=\"names\"", "")                                                \
	ONE(RELAYS, "entries", "what=\"relays\"", "")                                              \
	ONE(SOURCES, "entries", "what=\"sources\"", "")                                            \
	ONE(CONNECTIONS_MAX, "capacity", "what=\"connections\"", "How many of what there can be.") \
	ONE(DIALS_MAX, "capacity", "what=\"dials\"", "")                                           \
	ONE(HELD_MAX, "capacity", "what=\"held\"", "")                                             \
	ONE(NAMES_MAX, "capacity", "what=\"names\"", "")                                           \
	ONE(RELAYS_MAX, "capacity", "what=\"relays\"", "")                                         \
	ONE(SOURCES_MAX, "capacity", "what=\"sources\"", "")

/* KIND(kind, label, ...) for each STUN_METHOD_kind, with the arguments that are handed on. */
#define COUNTERS_KIND_LIST(KIND, ...)                                                              \
	KIND(BINDING, "binding", __VA_ARGS__)                                                      \
	KIND(REGISTER, "register", __VA_ARGS__)                                                    \
	KIND(LOOKUP, "lookup", __VA_ARGS__)                                                        \
	KIND(CONNECT, "connect", __VA_ARGS__)                                                      \
	KIND(RELAY, "relay", __VA_ARGS__)                                                          \
	KIND(JOIN, "join", __VA_ARGS__)                                                            \
	KIND(DIAL, "dial", __VA_ARGS__)

/* CODE(code, ...) for each error code that the reflector answers. */
#define COUNTERS_ERROR_LIST(CODE, ...)                                                             \
	CODE(400, __VA_ARGS__)                                                                     \
	CODE(401, __VA_ARGS__)                                                                     \
	CODE(403, __VA_ARGS__)                                                                     \
	CODE(420, __VA_ARGS__)                                                                     \
	CODE(438, __VA_ARGS__)                                                                     \
	CODE(447, __VA_ARGS__)                                                                     \
	CODE(486, __VA_ARGS__)                                                                     \
	CODE(508, __VA_ARGS__)

#define COUNTERS_ENUM_KIND(kind, label, unused) COUNTERS_##kind,

/* What was asked, for STUN over UDP and TCP: the offset from the first of a block. */
enum counters_kind {
	COUNTERS_KIND_LIST(COUNTERS_ENUM_KIND, 0) /* and last, a method that nobody knows: */
	COUNTERS_OTHER,
	COUNTERS_KINDS,
};

#define COUNTERS_ENUM_ONE(id, family, labels, help) COUNTER_##id,
#define COUNTERS_ENUM_BLOCK(id, family, transport, help)                                           \
	COUNTER_##id, COUNTER_##id##_LAST = COUNTER_##id + COUNTERS_KINDS - 1,
#define COUNTERS_ENUM_CODE(code, unused) COUNTER_ERROR_##code,
#define COUNTERS_ENUM_ERRORS(family, help)                                                         \
	COUNTERS_ERROR_LIST(COUNTERS_ENUM_CODE, 0) COUNTER_ERROR_OTHER,

enum counter {
	COUNTERS_LIST(COUNTERS_ENUM_ONE, COUNTERS_ENUM_BLOCK, COUNTERS_ENUM_ERRORS) COUNTER_COUNT,
};

/* Each is written by one worker, and may be read by another. */
struct counters {
	uint64_t values[COUNTER_COUNT];
};

/* `counters` may be NULL: a module tried on its own need not count. */
static inline void count_many(struct counters *counters, unsigned which, uint64_t number)
{
	if (counters != NULL)
		relaxed_counter_store(&counters->values[which], counters->values[which] + number);
}

/* For a number that is not counted as it happens. */
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

/* Adds the counters of one worker to the sum. */
void counters_add(struct counters *sum, const struct counters *part);

#define COUNTERS_LINE_SIZE 128   /* longest of a sample, with a NUL */
#define COUNTERS_TEXT_SIZE 16384 /* longest of all */

/* "NAME{LABELS} VALUE", without a line break. Returns out. */
const char *counters_format(
	const struct counters *counters, enum counter which, char out[COUNTERS_LINE_SIZE]);

/* All samples, with HELP and TYPE before each family. Returns the length; a NUL stands behind. */
size_t counters_write(const struct counters *counters, char out[COUNTERS_TEXT_SIZE]);

#endif
