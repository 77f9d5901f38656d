/*
 * One loop. Ten kinds of descriptors are watched, told apart by their tag: the signals, the UDP
 * sockets, the TCP listeners, the connections, which belong to reflector_stream.c, the raw sockets,
 * the calls to clients, which belong to reflector_dial.c, the connections that are passed on, which
 * belong to reflector_relay.c, and those to the counters, which belong to reflector_metrics.c; and
 * between threads, what is handed to the first one, and its word that it is over. Nothing that
 * comes from the network can end the process.
 *
 * When a listener cannot accept for want of descriptors or memory, all of them are left alone for
 * a moment: epoll would report them again and again, and the connections that are there, whose
 * ends free what is wanting, would be served late.
 */
#include "natpunch/reflector_thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/clock.h"
#include "natpunch/log.h"
#include "natpunch/random.h"
#include "natpunch/reflector_ports.h"
#include "natpunch/signals.h"
#include "natpunch/socket_linux.h"

#define STARVED_PAUSE_MS 100  /* how long the listeners are left alone */
#define TELL_PAUSE_MS    1000 /* between two lines about those that were not written */
#define HANDED_BATCH     64   /* records of one thread before the others have their turn */

int reflector_thread_fail(struct error *error, const char *what)
{
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
}

struct loop_tag reflector_thread_tag(enum reflector_tag kind, uint32_t slot)
{
	return (struct loop_tag){.kind = (uint8_t)kind, .slot = slot};
}

struct reflector *reflector_thread_new(void)
{
	struct reflector *reflector = calloc(1, sizeof(*reflector));

	if (reflector == NULL)
		return NULL;
	reflector->loop.fd = -1;
	reflector->signals = -1;
	reflector->acceptor.spare = -1;
	reflector->resume = DEADLINE_NONE;
	reflector->watchdog = DEADLINE_NONE;
	reflector->handoff.ends[0] = reflector->handoff.ends[1] = -1;
	reflector->datagram_handoff = reflector->handoff;
	reflector->stop = -1;
	reflector->notify.fd = -1;
	return reflector;
}

static int open_limits(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	uint8_t key[SIPHASH_KEY_SIZE];

	reflector->acceptor.counters = &reflector->counters;
	reflector->stream.counters = &reflector->counters;
	if (config->limits.source.per_second == 0)
		return 0;
	reflector->sources_memory = calloc(
		(size_t)RATE_SET << REFLECTOR_SOURCES_BITS, sizeof(*reflector->sources_memory));
	if (reflector->sources_memory == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for sources");
	random_fill(key, sizeof(key));
	rate_table_init(&reflector->sources, reflector->sources_memory, REFLECTOR_SOURCES_BITS,
		config->limits.source, key);
	reflector->stream.sources = &reflector->sources;
	reflector->stream.limits_loopback = config->limits.loopback;
	return 0;
}

/* What each thread has of its own. */
int reflector_thread_open(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	reflector->datagrams = reflector_datagram_open();
	if (reflector->datagrams == NULL ||
		reflector_stream_open(&reflector->stream, &reflector->loop,
			REFLECTOR_TAG_CONNECTION, reflector->connections, &config->times,
			&reflector->names) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for %u connections",
			reflector->connections);
	reflector->datagram_server = reflector->stream.server;
	reflector->datagram_server.stream = false;
	return open_limits(reflector, config, error);
}

void reflector_thread_close(struct reflector *reflector)
{
	reflector_ports_close(reflector);
	reflector_metrics_close(&reflector->metrics);
	reflector_relay_close(&reflector->relay);
	reflector_dial_close(&reflector->dial);
	reflector_names_close(&reflector->names, clock_now_ms());
	reflector_stream_close(&reflector->stream);
	reflector_datagram_close(reflector->datagrams);
	reflector_raw_close(reflector->raw);
	reflector_accept_close(&reflector->acceptor);
	reflector_handoff_close(&reflector->handoff);
	reflector_handoff_close(&reflector->datagram_handoff);
	if (reflector->stop >= 0)
		close(reflector->stop);
	notify_close(&reflector->notify);
	if (reflector->signals >= 0)
		close(reflector->signals);
	loop_close(&reflector->loop);
	free(reflector->sources_memory);
	free(reflector);
}

/* How full a thread's tables are, where another one can see it: by the thread itself. */
static void publish_levels(struct reflector *reflector)
{
	const struct reflector_table *table = &reflector->stream.table;

	count_set(&reflector->counters, COUNTER_LIMITED_HOLD, table->unheld);
	count_set(&reflector->counters, COUNTER_CONNECTIONS, table->used);
	count_set(&reflector->counters, COUNTER_HELD, table->held);
	count_set(&reflector->counters, COUNTER_SOURCES_DROPPED, reflector->sources.dropped);
}

/* What a thread has done, and how full its tables were when it last had nothing to do. */
static void collect_thread(const struct reflector *reflector, struct counters *out, uint64_t now)
{
	const struct reflector_table *table = &reflector->stream.table;

	counters_add(out, &reflector->counters);
	for (uint32_t i = 0; i < reflector->port_count; i++)
		if (reflector->ports[i].datagram >= 0)
			count_many(out, COUNTER_OVERFLOWS,
				socket_dropped(reflector->ports[i].datagram));
	count_many(out, COUNTER_CONNECTIONS_MAX, table->capacity);
	count_many(out, COUNTER_HELD_MAX, reflector_table_hold_max(table));
	if (reflector->stream.sources == NULL)
		return;
	count_many(out, COUNTER_SOURCES, rate_table_count(&reflector->sources, now));
	count_many(out, COUNTER_SOURCES_MAX, (uint64_t)RATE_SET << REFLECTOR_SOURCES_BITS);
}

void reflector_thread_collect(void *context, struct counters *out, uint64_t now)
{
	struct reflector *reflector = context;

	publish_levels(reflector);
	collect_thread(reflector, out, now);
	for (uint32_t i = 0; i < reflector->other_count; i++)
		collect_thread(reflector->others[i], out, now);
	count_many(out, COUNTER_LOG_SUPPRESSED, log_suppressed());
	count_many(out, COUNTER_DIALS, reflector->dial.busy);
	count_many(out, COUNTER_DIALS_MAX, reflector->dial.config.off ? 0 : REFLECTOR_DIAL_MAX);
	count_many(out, COUNTER_NAMES, reflector->names.registry.count);
	count_many(out, COUNTER_NAMES_MAX, reflector->names.keys_path != NULL ? KEYS_MAX : 0);
	reflector_relay_count(&reflector->relay, out);
}

static void write_counters(struct reflector *reflector, uint64_t now)
{
	struct counters counters = {.values = {0}};
	char line[COUNTERS_LINE_SIZE];

	reflector_thread_collect(reflector, &counters, now);
	for (unsigned i = 0; i < COUNTER_COUNT; i++)
		log_always("%s", counters_format(&counters, (enum counter)i, line));
}

static void pause_listeners(struct reflector *reflector, uint64_t now)
{
	if (log_admits())
		log_detail("no descriptor or memory for new connections");
	reflector_ports_watch(reflector, 0);
	reflector->resume = now + STARVED_PAUSE_MS;
}

static void resume_listeners(struct reflector *reflector)
{
	reflector_ports_watch(reflector, EPOLLIN);
	reflector->resume = DEADLINE_NONE;
}

static void accept_newcomers(struct reflector *reflector, struct reflector_port *port, uint64_t now)
{
	uint32_t count = 0;

	for (; count < port->batch.size; count++) {
		struct addr peer;
		int fd = reflector_accept_next(&reflector->acceptor, port->listener, &peer);

		if (fd == ACCEPT_NONE)
			break;
		if (fd == ACCEPT_STARVED) {
			pause_listeners(reflector, now);
			return;
		}
		if (fd == ACCEPT_DROPPED)
			continue;
		if (port->listen.service == REFLECTOR_TEXT)
			reflector_accept_answer_text(&reflector->acceptor, fd, &peer);
		else
			reflector_stream_adopt(&reflector->stream, fd, &peer, now);
	}
	reflector_accept_adapt(&port->batch, count);
}

/* Returns true when it is time to go. */
static bool take_signals(struct reflector *reflector, uint64_t now)
{
	int number;

	while ((number = signals_take(reflector->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			return true;
		if (number == SIGHUP)
			reflector_names_reload(&reflector->names);
		if (number == SIGUSR1)
			write_counters(reflector, now);
		if (number == SIGCHLD)
			reflector_names_reap(&reflector->names, now);
	}
	return false;
}

/* What another thread has handed over. */
static void take_handed(struct reflector *reflector, const struct reflector *other, uint64_t now)
{
	struct reflector_handed handed;

	for (int i = 0; i < HANDED_BATCH && reflector_handoff_receive(&other->handoff, &handed);
		i++)
		reflector_stream_take_over(&reflector->stream, &handed, now);
	for (int i = 0;
		i < HANDED_BATCH && reflector_handoff_receive(&other->datagram_handoff, &handed);
		i++)
		if (handed.port < reflector->port_count)
			reflector_datagram_serve_handed(reflector->datagrams,
				&reflector->ports[handed.port].served, &reflector->datagram_server,
				&reflector->names, &reflector->counters, &handed, now);
}

/* Returns true when it is time to go. */
static bool dispatch(struct reflector *reflector, const struct loop_event *event, uint64_t now)
{
	switch ((enum reflector_tag)event->tag.kind) {
	case REFLECTOR_TAG_SIGNAL:
		return take_signals(reflector, now);
	case REFLECTOR_TAG_DATAGRAM:
		reflector_datagram_serve(reflector->datagrams,
			&reflector->ports[event->tag.slot].served, &reflector->datagram_server,
			&reflector->names, &reflector->counters, now);
		break;
	case REFLECTOR_TAG_LISTENER:
		accept_newcomers(reflector, &reflector->ports[event->tag.slot], now);
		break;
	case REFLECTOR_TAG_CONNECTION:
		reflector_stream_event(&reflector->stream, event->tag, now);
		break;
	case REFLECTOR_TAG_RAW:
		reflector_raw_serve(reflector->raw, event->tag.slot, &reflector->counters);
		break;
	case REFLECTOR_TAG_RELAY:
		reflector_relay_event(&reflector->relay, event->tag, event->events, now);
		break;
	case REFLECTOR_TAG_DIAL:
		reflector_dial_event(&reflector->dial, event->tag, now);
		break;
	case REFLECTOR_TAG_METRICS:
		reflector_metrics_event(&reflector->metrics, event->tag, now);
		break;
	case REFLECTOR_TAG_HANDED:
		take_handed(reflector, reflector->others[event->tag.slot], now);
		break;
	case REFLECTOR_TAG_STOP:
		return true;
	}
	return false;
}

static void feed_watchdog(struct reflector *reflector, uint64_t now)
{
	if (now < reflector->watchdog)
		return;
	notify_watchdog(&reflector->notify);
	reflector->watchdog = now + reflector->notify.watchdog_ms;
}

/* How many lines were not written is told once in a while, and at the end. */
void reflector_thread_tell(struct reflector *reflector, uint64_t now)
{
	uint64_t suppressed = reflector->is_other ? 0 : log_suppressed();

	if (suppressed == reflector->suppressed || now < reflector->tell_due)
		return;
	log_detail("%llu lines more were too many, and not written",
		(unsigned long long)(suppressed - reflector->suppressed));
	reflector->suppressed = suppressed;
	reflector->tell_due = now + TELL_PAUSE_MS;
}

static uint64_t next_deadline(struct reflector *reflector, uint64_t now)
{
	const uint64_t dues[] = {
		reflector_stream_next(&reflector->stream),
		reflector_dial_next(&reflector->dial),
		reflector_names_next(&reflector->names, now),
		reflector_relay_next(&reflector->relay),
		reflector_metrics_next(&reflector->metrics),
		!reflector->is_other && log_suppressed() != reflector->suppressed
			? reflector->tell_due
			: DEADLINE_NONE,
		reflector->resume,
		reflector->watchdog,
	};
	uint64_t due = DEADLINE_NONE;

	for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		due = dues[i] < due ? dues[i] : due;
	return due;
}

int reflector_thread_run(struct reflector *reflector, struct error *error)
{
	struct loop_event events[LOOP_BATCH];
	uint64_t now = clock_now_ms();

	for (;;) {
		uint64_t due = next_deadline(reflector, now);
		int count;

		publish_levels(reflector);
		count = loop_wait(&reflector->loop, events, loop_timeout(now, due));
		if (count < 0)
			return error_set(
				error, EXIT_STATUS_BUG, "cannot wait: %s", strerror(errno));
		now = clock_now_ms();
		for (int i = 0; i < count; i++)
			if (dispatch(reflector, &events[i], now))
				return 0;
		reflector_stream_expire(&reflector->stream, now);
		reflector_dial_expire(&reflector->dial, now);
		reflector_names_expire(&reflector->names, now);
		reflector_relay_expire(&reflector->relay, now);
		reflector_metrics_expire(&reflector->metrics, now);
		reflector_thread_tell(reflector, now);
		if (now >= reflector->resume)
			resume_listeners(reflector);
		feed_watchdog(reflector, now);
	}
}
