/*
 * One loop: it waits for events until the next deadline, hands each event to its module, and then
 * has each module do what is due. Events, told apart by the tag of their descriptor:
 *
 *   SIGNAL      SIGTERM and SIGINT end the loop; SIGHUP, SIGUSR1 and SIGCHLD are served
 *   DATAGRAM    a UDP socket: udp.c
 *   LISTENER    a TCP listener: accept.c takes what has come, tcp.c talks with it
 *   CONNECTION  a TCP connection: tcp.c
 *   RAW         a raw socket: raw_answer.c
 *   RELAY       a connection that is passed on: relay.c
 *   DIALLER     a call to a client: dialler.c
 *   METRICS     a connection to the counters: metrics.c
 *   QUEUE       the first worker's: what another one has put into its queue (worker_queue.h)
 *   STOP        the others': it is over
 *
 * Timers: one for each module (tcp_next() and so on), and three of its own: `resume`, the watchdog,
 * and when the number of suppressed log lines may be logged again.
 *
 * Invariants: no two workers write to the same memory. Nothing that comes from the network can end
 * the process.
 *
 * When a listener cannot accept, as descriptors or memory are short, no listener is watched for a
 * moment: epoll would report them again and again, and delay the present connections, whose ends
 * free what is short.
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
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/socket_linux.h"

#define STARVED_PAUSE_MS 100  /* how long the listeners are left alone */
#define LOG_PAUSE_MS     1000 /* between two lines about those that were suppressed */
#define QUEUE_BATCH      64   /* items of one worker before the others have their turn */

int worker_set_error(struct error *error, const char *what)
{
	return error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
}

struct loop_tag worker_tag(enum worker_tag kind, uint32_t slot)
{
	return (struct loop_tag){.kind = (uint8_t)kind, .slot = slot};
}

struct worker *worker_new(void)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (worker == NULL)
		return NULL;
	worker->loop.fd = -1;
	worker->signals = -1;
	worker->acceptor.spare = -1;
	worker->resume = TIMER_NONE;
	worker->watchdog = TIMER_NONE;
	worker->queue.ends[0] = worker->queue.ends[1] = -1;
	worker->datagram_queue = worker->queue;
	worker->stop = -1;
	worker->notify.fd = -1;
	return worker;
}

static int open_limits(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	uint8_t key[SIPHASH_KEY_SIZE];

	worker->acceptor.counters = &worker->counters;
	worker->tcp.counters = &worker->counters;
	if (forget_limit_open(&worker->forgets, &config->limits) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for sources");
	worker->tcp.forgets = &worker->forgets;
	if (config->limits.source.per_second == 0)
		return 0;
	worker->sources_memory = calloc(
		(size_t)RATE_LIMIT_SET << REFLECTOR_SOURCES_BITS, sizeof(*worker->sources_memory));
	if (worker->sources_memory == NULL)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for sources");
	random_fill(key, sizeof(key));
	rate_limit_table_init(&worker->sources, worker->sources_memory, REFLECTOR_SOURCES_BITS,
		config->limits.source, key);
	worker->tcp.sources = &worker->sources;
	worker->tcp.limits_loopback = config->limits.loopback;
	return 0;
}

/* What each worker has of its own. */
int worker_open(struct worker *worker, const struct reflector_config *config, struct error *error)
{
	worker->datagrams = udp_open();
	if (worker->datagrams == NULL ||
		tcp_open(&worker->tcp, &worker->loop, WORKER_TAG_CONNECTION, worker->connections,
			&config->times, &worker->names) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for %u connections",
			worker->connections);
	worker->datagram_server = worker->tcp.server;
	worker->datagram_server.stream = false;
	return open_limits(worker, config, error);
}

static void close_listeners(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->port_count; i++) {
		if (worker->ports[i].datagram >= 0)
			close(worker->ports[i].datagram);
		if (worker->ports[i].listener >= 0)
			close(worker->ports[i].listener);
	}
}

/* Watches the TCP listeners for these events of epoll: EPOLLIN, or 0. */
static void watch_listeners(struct worker *worker, uint32_t events)
{
	for (uint32_t i = 0; i < worker->port_count; i++)
		if (worker->ports[i].listener >= 0)
			loop_change(&worker->loop, worker->ports[i].listener, events,
				worker_tag(WORKER_TAG_LISTENER, i));
}

void worker_close(struct worker *worker)
{
	close_listeners(worker);
	metrics_close(&worker->metrics);
	relay_close(&worker->relay);
	dialler_close(&worker->dialler);
	names_close(&worker->names, clock_now_ms());
	tcp_close(&worker->tcp);
	udp_close(worker->datagrams);
	raw_answer_close(worker->raw);
	accept_close(&worker->acceptor);
	worker_queue_close(&worker->queue);
	worker_queue_close(&worker->datagram_queue);
	if (worker->stop >= 0)
		close(worker->stop);
	notify_close(&worker->notify);
	if (worker->signals >= 0)
		close(worker->signals);
	loop_close(&worker->loop);
	forget_limit_close(&worker->forgets);
	free(worker->sources_memory);
	free(worker);
}

/* The worker itself publishes how full its tables are, for the others to read. */
static void publish_levels(struct worker *worker)
{
	const struct tcp_table *table = &worker->tcp.table;

	count_set(&worker->counters, COUNTER_LIMITED_HOLD, table->unheld);
	count_set(&worker->counters, COUNTER_CONNECTIONS, table->used);
	count_set(&worker->counters, COUNTER_HELD, table->held);
	count_set(&worker->counters, COUNTER_SOURCES_DROPPED, worker->sources.dropped);
}

/* What a worker has done, and how full its tables were when it last had nothing to do. */
static void collect_worker(const struct worker *worker, struct counters *out, uint64_t now)
{
	const struct tcp_table *table = &worker->tcp.table;

	counters_add(out, &worker->counters);
	for (uint32_t i = 0; i < worker->port_count; i++)
		if (worker->ports[i].datagram >= 0)
			count_many(
				out, COUNTER_OVERFLOWS, socket_dropped(worker->ports[i].datagram));
	count_many(out, COUNTER_CONNECTIONS_MAX, table->capacity);
	count_many(out, COUNTER_HELD_MAX, tcp_table_hold_max(table));
	if (worker->tcp.sources == NULL)
		return;
	count_many(out, COUNTER_SOURCES, rate_limit_table_count(&worker->sources, now));
	count_many(out, COUNTER_SOURCES_MAX, (uint64_t)RATE_LIMIT_SET << REFLECTOR_SOURCES_BITS);
}

void worker_collect(void *context, struct counters *out, uint64_t now)
{
	struct worker *worker = context;

	publish_levels(worker);
	collect_worker(worker, out, now);
	for (uint32_t i = 0; i < worker->other_count; i++)
		collect_worker(worker->others[i], out, now);
	count_many(out, COUNTER_LOG_SUPPRESSED, log_suppressed());
	count_many(out, COUNTER_DIALS, worker->dialler.busy);
	count_many(out, COUNTER_DIALS_MAX, worker->dialler.config.off ? 0 : DIALLER_MAX);
	count_many(out, COUNTER_NAMES, worker->names.registry.count);
	count_many(out, COUNTER_NAMES_MAX, worker->names.keys_path != NULL ? KEY_FILE_MAX : 0);
	relay_count(&worker->relay, out);
}

static void write_counters(struct worker *worker, uint64_t now)
{
	struct counters counters = {.values = {0}};
	char line[COUNTERS_LINE_SIZE];

	worker_collect(worker, &counters, now);
	for (unsigned i = 0; i < COUNTER_COUNT; i++)
		log_always("%s", counters_format(&counters, (enum counter)i, line));
}

static void pause_listeners(struct worker *worker, uint64_t now)
{
	if (log_admits())
		log_detail("no descriptor or memory left for new connections");
	watch_listeners(worker, 0);
	worker->resume = now + STARVED_PAUSE_MS;
}

static void resume_listeners(struct worker *worker)
{
	watch_listeners(worker, EPOLLIN);
	worker->resume = TIMER_NONE;
}

static void accept_newcomers(struct worker *worker, struct worker_listener *port, uint64_t now)
{
	uint32_t count = 0;

	for (; count < port->batch.size; count++) {
		struct addr peer;
		int fd = accept_next(&worker->acceptor, port->listener, &peer);

		if (fd == ACCEPT_NONE)
			break;
		if (fd == ACCEPT_STARVED) {
			pause_listeners(worker, now);
			return;
		}
		if (fd == ACCEPT_DROPPED)
			continue;
		if (port->listen.service == REFLECTOR_TEXT)
			accept_answer_text(&worker->acceptor, fd, &peer);
		else
			tcp_adopt(&worker->tcp, fd, &peer, now);
	}
	accept_adapt(&port->batch, count);
}

/* Returns true when it is time to go. */
static bool take_signals(struct worker *worker, uint64_t now)
{
	int number;

	while ((number = signals_take(worker->signals)) != 0) {
		if (number == SIGTERM || number == SIGINT)
			return true;
		if (number == SIGHUP)
			names_reload(&worker->names);
		if (number == SIGUSR1)
			write_counters(worker, now);
		if (number == SIGCHLD)
			names_reap(&worker->names, now);
	}
	return false;
}

/* What another worker has put into its queues. */
static void serve_queues(struct worker *worker, const struct worker *other, uint64_t now)
{
	struct worker_queue_item item;

	for (int i = 0; i < QUEUE_BATCH && worker_queue_receive(&other->queue, &item); i++)
		tcp_take_over(&worker->tcp, &item, now);
	for (int i = 0; i < QUEUE_BATCH && worker_queue_receive(&other->datagram_queue, &item); i++)
		if (item.port < worker->port_count)
			udp_serve_queued(worker->datagrams, &worker->ports[item.port].served,
				&worker->datagram_server, &worker->names, &worker->counters, &item,
				now);
}

/* Returns true when it is time to go. */
static bool dispatch(struct worker *worker, const struct loop_event *event, uint64_t now)
{
	switch ((enum worker_tag)event->tag.kind) {
	case WORKER_TAG_SIGNAL:
		return take_signals(worker, now);
	case WORKER_TAG_DATAGRAM:
		udp_serve(worker->datagrams, &worker->ports[event->tag.slot].served,
			&worker->datagram_server, &worker->names, &worker->counters, now);
		break;
	case WORKER_TAG_LISTENER:
		accept_newcomers(worker, &worker->ports[event->tag.slot], now);
		break;
	case WORKER_TAG_CONNECTION:
		tcp_event(&worker->tcp, event->tag, now);
		break;
	case WORKER_TAG_RAW:
		raw_answer_serve(worker->raw, event->tag.slot, &worker->counters);
		break;
	case WORKER_TAG_RELAY:
		relay_event(&worker->relay, event->tag, event->events, now);
		break;
	case WORKER_TAG_DIALLER:
		dialler_event(&worker->dialler, event->tag, now);
		break;
	case WORKER_TAG_METRICS:
		metrics_event(&worker->metrics, event->tag, now);
		break;
	case WORKER_TAG_QUEUE:
		serve_queues(worker, worker->others[event->tag.slot], now);
		break;
	case WORKER_TAG_STOP:
		return true;
	}
	return false;
}

static void feed_watchdog(struct worker *worker, uint64_t now)
{
	if (now < worker->watchdog)
		return;
	notify_watchdog(&worker->notify);
	worker->watchdog = now + worker->notify.watchdog_ms;
}

/* Once in a while, and at the end. */
void worker_log_suppressed(struct worker *worker, uint64_t now)
{
	uint64_t suppressed = worker->is_other ? 0 : log_suppressed();

	if (suppressed == worker->suppressed || now < worker->log_due)
		return;
	log_detail("%llu lines more were too many, and not written",
		(unsigned long long)(suppressed - worker->suppressed));
	worker->suppressed = suppressed;
	worker->log_due = now + LOG_PAUSE_MS;
}

static uint64_t next_deadline(struct worker *worker, uint64_t now)
{
	const uint64_t dues[] = {
		tcp_next(&worker->tcp),
		dialler_next(&worker->dialler),
		names_next(&worker->names, now),
		relay_next(&worker->relay),
		metrics_next(&worker->metrics),
		!worker->is_other && log_suppressed() != worker->suppressed ? worker->log_due
									    : TIMER_NONE,
		worker->resume,
		worker->watchdog,
	};
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		due = timer_earlier(due, dues[i]);
	return due;
}

int worker_run(struct worker *worker, struct error *error)
{
	struct loop_event events[LOOP_BATCH];
	uint64_t now = clock_now_ms();

	for (;;) {
		uint64_t due = next_deadline(worker, now);
		int count;

		publish_levels(worker);
		count = loop_wait(&worker->loop, events, clock_poll_ms(now, due));
		if (count < 0)
			return error_set(
				error, EXIT_STATUS_BUG, "cannot wait: %s", strerror(errno));
		now = clock_now_ms();
		for (int i = 0; i < count; i++)
			if (dispatch(worker, &events[i], now))
				return 0;
		tcp_expire(&worker->tcp, now);
		dialler_expire(&worker->dialler, now);
		names_expire(&worker->names, now);
		relay_expire(&worker->relay, now);
		metrics_expire(&worker->metrics, now);
		worker_log_suppressed(worker, now);
		if (now >= worker->resume)
			resume_listeners(worker);
		feed_watchdog(worker, now);
	}
}
