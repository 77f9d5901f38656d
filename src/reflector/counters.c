#include "reflector/counters.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/proto/stun.h"

#define ERROR_OFFSET (STUN_HEADER_SIZE + 4) /* of the value of an error's first attribute */

/* A family is all counters from its first one to the first of the next. */
struct family {
	enum counter first;
	const char *name;
	const char *help;
};

static const struct family families[] = {
	{COUNTER_UDP_REQUESTS, "requests_total", "Questions that came."},
	{COUNTER_UDP_ANSWERS, "answers_total", "Answers that were sent, but for errors."},
	{COUNTER_ERROR_400, "errors_total", "STUN errors that were answered."},
	{COUNTER_UDP_UNREADABLE, "ignored_total", "Packets that got no answer."},
	{COUNTER_OVERFLOWS, "overflows_total",
		"Datagrams that the kernel dropped, its buffer full."},
	{COUNTER_ACCEPTED, "connections_total", "TCP connections that came."},
	{COUNTER_ENDED_DONE, "connections_ended_total", "TCP connections that are over, by why."},
	{COUNTER_LIMITED_CONNECTION, "limited_total", "What was put off or refused by a limit."},
	{COUNTER_SOURCES_DROPPED, "sources_dropped_total", "Sources forgotten for want of room."},
	{COUNTER_DIAL_CLOSED, "dials_total", "Calls back to clients, by what became of them."},
	{COUNTER_NO_DIAL_BUSY, "dial_refusals_total", "Questions for a call that was not made."},
	{COUNTER_INVITED, "invitations_total", "Initiators that a home was to be told of."},
	{COUNTER_RELAYS_BEGUN, "relays_total", "Relayed connections that were begun."},
	{COUNTER_RELAYED_TO_HOME, "relayed_bytes_total", "Bytes that were passed on."},
	{COUNTER_LOG_SUPPRESSED, "log_lines_suppressed_total",
		"Lines that were too many a second."},
	{COUNTER_CONNECTIONS, "entries", "How many of what there are now."},
	{COUNTER_CONNECTIONS_MAX, "capacity", "How many of what there can be."},
	{COUNTER_COUNT, NULL, NULL},
};

#define KINDS(first, transport)                                                                    \
	[(first) + COUNTERS_BINDING] = "transport=\"" transport "\",kind=\"binding\"",             \
		   [(first) + COUNTERS_REGISTER] =                                                 \
			   "transport=\"" transport "\",kind=\"register\"",                        \
		   [(first) + COUNTERS_LOOKUP] = "transport=\"" transport "\",kind=\"lookup\"",    \
		   [(first) + COUNTERS_CONNECT] = "transport=\"" transport "\",kind=\"connect\"",  \
		   [(first) + COUNTERS_RELAY] = "transport=\"" transport "\",kind=\"relay\"",      \
		   [(first) + COUNTERS_JOIN] = "transport=\"" transport "\",kind=\"join\"",        \
		   [(first) + COUNTERS_DIAL] = "transport=\"" transport "\",kind=\"dial\"",        \
		   [(first) + COUNTERS_OTHER] = "transport=\"" transport "\",kind=\"other\""

/* "": the only one of its family. */
static const char *const labels[COUNTER_COUNT] = {
	KINDS(COUNTER_UDP_REQUESTS, "udp"),
	KINDS(COUNTER_TCP_REQUESTS, "tcp"),
	[COUNTER_LINE_REQUESTS] = "transport=\"tcp\",kind=\"line\"",
	[COUNTER_HTTP_REQUESTS] = "transport=\"tcp\",kind=\"http\"",
	[COUNTER_RAW_REQUESTS] = "transport=\"raw\",kind=\"syn\"",
	KINDS(COUNTER_UDP_ANSWERS, "udp"),
	KINDS(COUNTER_TCP_ANSWERS, "tcp"),
	[COUNTER_LINE_ANSWERS] = "transport=\"tcp\",kind=\"line\"",
	[COUNTER_HTTP_ANSWERS] = "transport=\"tcp\",kind=\"http\"",
	[COUNTER_RAW_ANSWERS] = "transport=\"raw\",kind=\"syn\"",
	[COUNTER_ERROR_400] = "code=\"400\"",
	[COUNTER_ERROR_401] = "code=\"401\"",
	[COUNTER_ERROR_403] = "code=\"403\"",
	[COUNTER_ERROR_420] = "code=\"420\"",
	[COUNTER_ERROR_438] = "code=\"438\"",
	[COUNTER_ERROR_447] = "code=\"447\"",
	[COUNTER_ERROR_486] = "code=\"486\"",
	[COUNTER_ERROR_508] = "code=\"508\"",
	[COUNTER_ERROR_OTHER] = "code=\"other\"",
	[COUNTER_UDP_UNREADABLE] = "transport=\"udp\",reason=\"unreadable\"",
	[COUNTER_UDP_NOT_STUN] = "transport=\"udp\",reason=\"not_stun\"",
	[COUNTER_UDP_NO_REQUEST] = "transport=\"udp\",reason=\"no_request\"",
	[COUNTER_RAW_UNFIT] = "transport=\"raw\",reason=\"unfit\"",
	[COUNTER_OVERFLOWS] = "transport=\"udp\"",
	[COUNTER_ACCEPTED] = "result=\"accepted\"",
	[COUNTER_NO_DESCRIPTOR] = "result=\"no_descriptor\"",
	[COUNTER_ENDED_DONE] = "reason=\"done\"",
	[COUNTER_ENDED_EVICTED] = "reason=\"evicted\"",
	[COUNTER_ENDED_FORGOTTEN] = "reason=\"forgotten\"",
	[COUNTER_ENDED_IDLE] = "reason=\"idle\"",
	[COUNTER_ENDED_NO_ROOM] = "reason=\"no_room\"",
	[COUNTER_ENDED_RELAYED] = "reason=\"relayed\"",
	[COUNTER_ENDED_SLOW] = "reason=\"slow\"",
	[COUNTER_ENDED_UNKNOWN] = "reason=\"unknown\"",
	[COUNTER_LIMITED_CONNECTION] = "what=\"connection\"",
	[COUNTER_LIMITED_HOLD] = "what=\"hold\"",
	[COUNTER_LIMITED_NAME] = "what=\"name\"",
	[COUNTER_LIMITED_SOURCE] = "what=\"source\"",
	[COUNTER_SOURCES_DROPPED] = "",
	[COUNTER_DIAL_CLOSED] = "result=\"closed\"",
	[COUNTER_DIAL_CONNECTED] = "result=\"connected\"",
	[COUNTER_DIAL_FAILED] = "result=\"failed\"",
	[COUNTER_DIAL_REFUSED] = "result=\"refused\"",
	[COUNTER_DIAL_TIMED_OUT] = "result=\"timed_out\"",
	[COUNTER_DIAL_UNREACHABLE] = "result=\"unreachable\"",
	[COUNTER_NO_DIAL_BUSY] = "reason=\"busy\"",
	[COUNTER_NO_DIAL_FORBIDDEN] = "reason=\"forbidden\"",
	[COUNTER_NO_DIAL_NO_PLACE] = "reason=\"no_place\"",
	[COUNTER_NO_DIAL_OFF] = "reason=\"off\"",
	[COUNTER_NO_DIAL_OFTEN] = "reason=\"often\"",
	[COUNTER_INVITED] = "result=\"sent\"",
	[COUNTER_NOT_INVITED] = "result=\"failed\"",
	[COUNTER_RELAYS_BEGUN] = "",
	[COUNTER_RELAYED_TO_HOME] = "direction=\"to_home\"",
	[COUNTER_RELAYED_FROM_HOME] = "direction=\"from_home\"",
	[COUNTER_LOG_SUPPRESSED] = "",
	[COUNTER_CONNECTIONS] = "what=\"connections\"",
	[COUNTER_DIALS] = "what=\"dials\"",
	[COUNTER_HELD] = "what=\"held\"",
	[COUNTER_NAMES] = "what=\"names\"",
	[COUNTER_RELAYS] = "what=\"relays\"",
	[COUNTER_SOURCES] = "what=\"sources\"",
	[COUNTER_CONNECTIONS_MAX] = "what=\"connections\"",
	[COUNTER_DIALS_MAX] = "what=\"dials\"",
	[COUNTER_HELD_MAX] = "what=\"held\"",
	[COUNTER_NAMES_MAX] = "what=\"names\"",
	[COUNTER_RELAYS_MAX] = "what=\"relays\"",
	[COUNTER_SOURCES_MAX] = "what=\"sources\"",
};

enum counters_kind counters_kind_of(uint16_t method)
{
	switch (method) {
	case STUN_METHOD_BINDING:
		return COUNTERS_BINDING;
	case STUN_METHOD_REGISTER:
		return COUNTERS_REGISTER;
	case STUN_METHOD_LOOKUP:
		return COUNTERS_LOOKUP;
	case STUN_METHOD_CONNECT:
		return COUNTERS_CONNECT;
	case STUN_METHOD_RELAY:
		return COUNTERS_RELAY;
	case STUN_METHOD_JOIN:
		return COUNTERS_JOIN;
	case STUN_METHOD_DIAL:
		return COUNTERS_DIAL;
	default:
		return COUNTERS_OTHER;
	}
}

static enum counter counter_of_code(unsigned code)
{
	switch (code) {
	case 400:
		return COUNTER_ERROR_400;
	case 401:
		return COUNTER_ERROR_401;
	case 403:
		return COUNTER_ERROR_403;
	case 420:
		return COUNTER_ERROR_420;
	case 438:
		return COUNTER_ERROR_438;
	case 447:
		return COUNTER_ERROR_447;
	case 486:
		return COUNTER_ERROR_486;
	case 508:
		return COUNTER_ERROR_508;
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

static const struct family *family_of(enum counter which)
{
	const struct family *family = families;

	while (family[1].first <= which)
		family++;
	return family;
}

const char *counters_format(
	const struct counters *counters, enum counter which, char out[COUNTERS_LINE_SIZE])
{
	const char *label = labels[which];

	snprintf(out, COUNTERS_LINE_SIZE, "natpunch_%s%s%s%s %" PRIu64, family_of(which)->name,
		label[0] != '\0' ? "{" : "", label, label[0] != '\0' ? "}" : "",
		counters->values[which]);
	return out;
}

/* The longest lines are of 47 + 24 + 20 characters; a family's heads of fewer than 160. */
static_assert(
	COUNTER_COUNT * 96 + sizeof(families) / sizeof(families[0]) * 192 < COUNTERS_TEXT_SIZE,
	"all of it fits");

size_t counters_write(const struct counters *counters, char out[COUNTERS_TEXT_SIZE])
{
	const struct family *family = families;
	char line[COUNTERS_LINE_SIZE];
	size_t used = 0;

	for (unsigned which = 0; which < COUNTER_COUNT; which++) {
		if (family->first == which) {
			used += (size_t)snprintf(out + used, COUNTERS_TEXT_SIZE - used,
				"# HELP natpunch_%s %s\n# TYPE natpunch_%s %s\n", family->name,
				family->help, family->name,
				which >= COUNTER_CONNECTIONS ? "gauge" : "counter");
			family++;
		}
		used += (size_t)snprintf(out + used, COUNTERS_TEXT_SIZE - used, "%s\n",
			counters_format(counters, (enum counter)which, line));
	}
	return used;
}
