/*
 * One loop. Ten kinds of descriptors are watched, told apart by their tag: the signals, the UDP
 * sockets, the TCP listeners, the connections, which belong to tcp.c, the raw sockets,
 * the calls to clients, which belong to dialler.c, the connections that are passed on, which
 * belong to relay.c, and those to the counters, which belong to metrics.c; and
 * between threads, what is handed to the first one, and its word that it is over. Nothing that
 * comes from the network can end the process.
 *
 * When a listener cannot accept for want of descriptors or memory, all of them are left alone for
 * a moment: epoll would report them again and again, and the connections that are there, whose
 * ends free what is wanting, would be served late.
 */
#include "reflector/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "natpunch/os/random.h"
#include "natpunch/os/signals.h"
#include "natpunch/os/socket_linux.h"

#define STARVED_PAUSE_MS 100  /* how long the listeners are left alone */
#define TELL_PAUSE_MS    1000 /* between two lines about those that were not written */
#define HANDED_BATCH     64   /* records of one thread before the others have their turn */

int worker_fail(struct error *error, const char *what)
{
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
}

struct loop_tag worker_tag(enum worker_tag kind, uint32_t slot)
{
	return (struct loop_tag){.kind = (uint8_t)kind, .slot = slot};
}

struct reflector *worker_new(void)
{
	struct reflector *reflector = calloc(1, sizeof(*reflector));

	if (reflector == NULL)
		return NULL;
	reflector->loop.fd = -1;
	reflector->signals = -1;
	reflector->acceptor.spare = -1;
	reflector->resume = TIMER_NONE;
	reflector->watchdog = TIMER_NONE;
	reflector->queue.ends[0] = reflector->queue.ends[1] = -1;
	reflector->datagram_queue = reflector->queue;
	reflector->stop = -1;
	reflector->notify.fd = -1;
	return reflector;
}

static int open_limits(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	uint8_t key[SIPHASH_KEY_SIZE];

	reflector->acceptor.counters = &reflector->counters;
	reflector->tcp.counters = &reflector->counters;
	if (config->limits.source.per_second == 0)
		return 0;
	reflector->sources_memory = calloc((size_t)RATE_LIMIT_SET << REFLECTOR_SOURCES_BITS,
		sizeof(*reflector->sources_memory));
	if (reflector->sources_memory == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for sources");
	random_fill(key, sizeof(key));
	rate_limit_table_init(&reflector->sources, reflector->sources_memory,
		REFLECTOR_SOURCES_BITS, config->limits.source, key);
	reflector->tcp.sources = &reflector->sources;
	reflector->tcp.limits_loopback = config->limits.loopback;
	return 0;
}

/* What each thread has of its own. */
int worker_open(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	reflector->datagrams = udp_open();
	if (reflector->datagrams == NULL ||
		tcp_open(&reflector->tcp, &reflector->loop, WORKER_TAG_CONNECTION,
			reflector->connections, &config->times, &reflector->names) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for %u connections",
			reflector->connections);
	reflector->datagram_server = reflector->tcp.server;
	reflector->datagram_server.stream = false;
	return open_limits(reflector, config, error);
}

static void close_listeners(struct reflector *reflector)
{
	for (uint32_t i = 0; i < reflector->port_count; i++) {
		if (reflector->ports[i].datagram >= 0)
			close(reflector->ports[i].datagram);
		if (reflector->ports[i].listener >= 0)
			close(reflector->ports[i].listener);
	}
}

/* Watches the TCP listeners for these events of epoll: EPOLLIN, or 0. */
static void watch_listeners(struct reflector *reflector, uint32_t events)
{
	for (uint32_t i = 0; i < reflector->port_count; i++)
		if (reflector->ports[i].listener >= 0)
			loop_change(&reflector->loop, reflector->ports[i].listener, events,
				worker_tag(WORKER_TAG_LISTENER, i));
}

void worker_close(struct reflector *reflector)
{
	close_listeners(reflector);
	metrics_close(&reflector->metrics);
	relay_close(&reflector->relay);
	dialler_close(&reflector->dialler);
	names_close(&reflector->names, clock_now_ms());
	tcp_close(&reflector->tcp);
	udp_close(reflector->datagrams);
	raw_answer_close(reflector->raw);
	accept_close(&reflector->acceptor);
	worker_queue_close(&reflector->queue);
	worker_queue_close(&reflector->datagram_queue);
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
	const struct tcp_table *table = &reflector->tcp.table;

	count_set(&reflector->counters, COUNTER_LIMITED_HOLD, table->unheld);
	count_set(&reflector->counters, COUNTER_CONNECTIONS, table->used);
	count_set(&reflector->counters, COUNTER_HELD, table->held);
	count_set(&reflector->counters, COUNTER_SOURCES_DROPPED, reflector->sources.dropped);
}

/* What a thread has done, and how full its tables were when it last had nothing to do. */
static void collect_thread(const struct reflector *reflector, struct counters *out, uint64_t now)
{
	const struct tcp_table *table = &reflector->tcp.table;

	counters_add(out, &reflector->counters);
	for (uint32_t i = 0; i < reflector->port_count; i++)
		if (reflector->ports[i].datagram >= 0)
			count_many(out, COUNTER_OVERFLOWS,
				socket_dropped(reflector->ports[i].datagram));
	count_many(out, COUNTER_CONNECTIONS_MAX, table->capacity);
	count_many(out, COUNTER_HELD_MAX, tcp_table_hold_max(table));
	if (reflector->tcp.sources == NULL)
		return;
	count_many(out, COUNTER_SOURCES, rate_limit_table_count(&reflector->sources, now));
	count_many(out, COUNTER_SOURCES_MAX, (uint64_t)RATE_LIMIT_SET << REFLECTOR_SOURCES_BITS);
}

void worker_collect(void *context, struct counters *out, uint64_t now)
{
	struct reflector *reflector = context;

	publish_levels(reflector);
	collect_thread(reflector, out, now);
	for (uint32_t i = 0; i < reflector->other_count; i++)
		collect_thread(reflector->others[i], out, now);
	count_many(out, COUNTER_LOG_SUPPRESSED, log_suppressed());
	count_many(out, COUNTER_DIALS, reflector->dialler.busy);
	count_many(out, COUNTER_DIALS_MAX, reflector->dialler.config.off ? 0 : DIALLER_MAX);
	count_many(out, COUNTER_NAMES, reflector->names.registry.count);
	count_many(out, COUNTER_NAMES_MAX, reflector->names.keys_path != NULL ? KEY_FILE_MAX : 0);
	relay_count(&reflector->relay, out);
}

static void write_counters(struct reflector *reflector, uint64_t now)
{
	struct counters counters = {.values = {0}};
	char line[COUNTERS_LINE_SIZE];

	worker_collect(reflector, &counters, now);
	for (unsigned i = 0; i < COUNTER_COUNT; i++)
		log_always("%s", counters_format(&counters, (enum counter)i, line));
}

static void pause_listeners(struct reflector *reflector, uint64_t now)
{
	if (log_admits())
		log_detail("no descriptor or memory for new connections");
	watch_listeners(reflector, 0);
	reflector->resume = now + STARVED_PAUSE_MS;
}

static void resume_listeners(struct reflector *reflector)
{
	watch_listeners(reflector, EPOLLIN);
	reflector->resume = TIMER_NONE;
}

static void accept_newcomers(
	struct reflector *reflector, struct worker_listener *port, uint64_t now)
{
	uint32_t count = 0;

	for (; count < port->batch.size; count++) {
		struct addr peer;
		int fd = accept_next(&reflector->acceptor, port->listener, &peer);

		if (fd == ACCEPT_NONE)
			break;
		if (fd == ACCEPT_STARVED) {
			pause_listeners(reflector, now);
			return;
		}
		if (fd == ACCEPT_DROPPED)
			continue;
		if (port->listen.service == REFLECTOR_TEXT)
			accept_answer_text(&reflector->acceptor, fd, &peer);
		else
			tcp_adopt(&reflector->tcp, fd, &peer, now);
	}
	accept_adapt(&port->batch, count);
}

/* Returns true when it is time to go. */
static bool take_signals(struct reflector *reflector, uint64_t now)
{
	int number;

	while ((number = signals_take(reflector->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			return true;
		if (number == SIGHUP)
			names_reload(&reflector->names);
		if (number == SIGUSR1)
			write_counters(reflector, now);
		if (number == SIGCHLD)
			names_reap(&reflector->names, now);
	}
	return false;
}

/* What another thread has handed over. */
static void take_handed(struct reflector *reflector, const struct reflector *other, uint64_t now)
{
	struct worker_queue_item handed;

	for (int i = 0; i < HANDED_BATCH && worker_queue_receive(&other->queue, &handed); i++)
		tcp_take_over(&reflector->tcp, &handed, now);
	for (int i = 0; i < HANDED_BATCH && worker_queue_receive(&other->datagram_queue, &handed);
		i++)
		if (handed.port < reflector->port_count)
			udp_serve_handed(reflector->datagrams,
				&reflector->ports[handed.port].served, &reflector->datagram_server,
				&reflector->names, &reflector->counters, &handed, now);
}

/* Returns true when it is time to go. */
static bool dispatch(struct reflector *reflector, const struct loop_event *event, uint64_t now)
{
	switch ((enum worker_tag)event->tag.kind) {
	case WORKER_TAG_SIGNAL:
		return take_signals(reflector, now);
	case WORKER_TAG_DATAGRAM:
		udp_serve(reflector->datagrams, &reflector->ports[event->tag.slot].served,
			&reflector->datagram_server, &reflector->names, &reflector->counters, now);
		break;
	case WORKER_TAG_LISTENER:
		accept_newcomers(reflector, &reflector->ports[event->tag.slot], now);
		break;
	case WORKER_TAG_CONNECTION:
		tcp_event(&reflector->tcp, event->tag, now);
		break;
	case WORKER_TAG_RAW:
		raw_answer_serve(reflector->raw, event->tag.slot, &reflector->counters);
		break;
	case WORKER_TAG_RELAY:
		relay_event(&reflector->relay, event->tag, event->events, now);
		break;
	case WORKER_TAG_DIAL:
		dialler_event(&reflector->dialler, event->tag, now);
		break;
	case WORKER_TAG_METRICS:
		metrics_event(&reflector->metrics, event->tag, now);
		break;
	case WORKER_TAG_HANDED:
		take_handed(reflector, reflector->others[event->tag.slot], now);
		break;
	case WORKER_TAG_STOP:
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
void worker_tell(struct reflector *reflector, uint64_t now)
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
		tcp_next(&reflector->tcp),
		dialler_next(&reflector->dialler),
		names_next(&reflector->names, now),
		relay_next(&reflector->relay),
		metrics_next(&reflector->metrics),
		!reflector->is_other && log_suppressed() != reflector->suppressed
			? reflector->tell_due
			: TIMER_NONE,
		reflector->resume,
		reflector->watchdog,
	};
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		due = dues[i] < due ? dues[i] : due;
	return due;
}

int worker_run(struct reflector *reflector, struct error *error)
{
	struct loop_event events[LOOP_BATCH];
	uint64_t now = clock_now_ms();

	for (;;) {
		uint64_t due = next_deadline(reflector, now);
		int count;

		publish_levels(reflector);
		count = loop_wait(&reflector->loop, events, clock_poll_ms(now, due));
		if (count < 0)
			return error_set(
				error, EXIT_STATUS_BUG, "cannot wait: %s", strerror(errno));
		now = clock_now_ms();
		for (int i = 0; i < count; i++)
			if (dispatch(reflector, &events[i], now))
				return 0;
		tcp_expire(&reflector->tcp, now);
		dialler_expire(&reflector->dialler, now);
		names_expire(&reflector->names, now);
		relay_expire(&reflector->relay, now);
		metrics_expire(&reflector->metrics, now);
		worker_tell(reflector, now);
		if (now >= reflector->resume)
			resume_listeners(reflector);
		feed_watchdog(reflector, now);
	}
}
