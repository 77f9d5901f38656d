/*
 * Opens everything in an order in which rights can be dropped on the way: first the ports, the raw
 * sockets and the ports of the other workers, which need rights; then the keys, as the user of -U;
 * then, confined, nothing more.
 */
#include "natpunch/reflector/reflector.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/log.h"
#include "natpunch/os/privileges.h"
#include "reflector/conntrack.h"
#include "reflector/reflector_sandbox.h"
#include "reflector/listeners.h"
#include "reflector/worker.h"
#include "natpunch/os/signals.h"

#define DESCRIPTORS_OTHER   18 /* the loop, the signals, the spare, the standard three, raw, some */
#define DESCRIPTORS_WORKER  6  /* of another worker: loop, stop, spare, two queues, one more */
#define DESCRIPTORS_DIALLER (DIALLER_MAX * DIALBACK_RESULT_MAX)
#define STACK_SIZE          (256 * 1024)

struct reflector {
	struct worker *workers[REFLECTOR_JOBS_MAX]; /* the first one has everything */
	uint32_t count;
	struct conntrack conntrack; /* of all workers */
};

static void deliver(
	void *context, struct loop_tag asker, const void *data, size_t size, uint64_t now)
{
	tcp_deliver(context, asker, data, size, now);
}

static void end_revoked(void *context, uint32_t slot, uint32_t generation)
{
	tcp_revoke(context, slot, generation, clock_now_ms());
}

/* After the ports: a dialler knows what it must not dial. */
static void open_dialler(struct worker *worker, const struct reflector_config *config)
{
	const struct dialler_config dialler = {
		.off = config->no_dial,
		.alternates = worker->alternates,
		.listens = worker->listens,
		.listen_count = worker->port_count,
		.counters = &worker->counters,
	};

	dialler_open(&worker->dialler, &dialler, &worker->loop, WORKER_TAG_DIALLER, deliver,
		&worker->tcp);
	worker->tcp.dialler = &worker->dialler;
}

static uint32_t count_jobs(const struct reflector_config *config)
{
	return config->jobs > 1 ? config->jobs : 1;
}

/* All but the connections. */
static uint64_t count_other_descriptors(const struct reflector_config *config)
{
	uint64_t listens = config->listen_count;

	for (size_t i = 0; i < WORKER_FAMILIES; i++)
		if (config->alternates[i].family != ADDR_NONE)
			listens += ALTERNATE_EXTRA;
	return DESCRIPTORS_OTHER + 2 * listens +
	       (count_jobs(config) - 1) * (DESCRIPTORS_WORKER + 2 * listens) +
	       (config->no_dial ? 0 : DESCRIPTORS_DIALLER) +
	       (config->metrics_port != 0 ? METRICS_DESCRIPTORS : 0) +
	       (config->relay ? config->relay_limits.all * RELAY_DESCRIPTORS : 0);
}

static int reserve_descriptors(
	const struct reflector_config *config, uint32_t *connections, struct error *error)
{
	uint64_t other = count_other_descriptors(config);
	uint64_t wanted = config->connections + other;
	uint64_t limit = descriptors_reserve(wanted);

	*connections = config->connections;
	if (limit >= wanted)
		return 0;
	if (limit <= other) {
		error_set(error, EXIT_STATUS_LOCAL,
			"the limit of %llu descriptors leaves none for connections",
			(unsigned long long)limit);
		return error_hint(error,
			"raise it to more than %llu, with ulimit -n or LimitNOFILE=",
			(unsigned long long)other);
	}
	if (config->connections_fixed) {
		error_set(error, EXIT_STATUS_LOCAL,
			"%u connections need %llu descriptors, the limit is %llu",
			config->connections, (unsigned long long)wanted, (unsigned long long)limit);
		return error_hint(error, "raise it with ulimit -n or LimitNOFILE=, or lower -C");
	}
	*connections = (uint32_t)(limit - other);
	log_warning("only %u connections at once: the limit of descriptors is %llu", *connections,
		(unsigned long long)limit);
	return 0;
}

static int open_tables(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	uint32_t connections;

	if (reserve_descriptors(config, &connections, error) != 0)
		return -1;
	worker->connections = connections / count_jobs(config);
	if (worker->connections == 0)
		worker->connections = 1;
	return worker_open(worker, config, error);
}

/* A machine that cannot is no error. */
static int open_raw(struct worker *worker, struct error *error)
{
	const char *why;

	for (uint32_t i = 0; i < worker->port_count; i++)
		worker->raw_listen[i] = worker->ports[i].listen;
	worker->raw = raw_answer_open(
		worker->raw_listen, worker->port_count, worker->tcp.conntrack, &why);
	if (worker->raw == NULL) {
		log_detail("not listening for raw tcp: %s", why);
		return 0;
	}
	for (uint32_t i = 0; i < RAW_ANSWER_SOCKETS; i++)
		if (raw_answer_fd(worker->raw, i) >= 0 &&
			loop_add(&worker->loop, raw_answer_fd(worker->raw, i), EPOLLIN,
				worker_tag(WORKER_TAG_RAW, i)) != 0)
			return worker_set_error(error, "watch a socket");
	return 0;
}

static int open_metrics(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	struct addr addr = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}};

	addr.port = config->metrics_port;
	if (metrics_open(&worker->metrics, config->metrics_port, &worker->loop, WORKER_TAG_METRICS,
		    worker_collect, worker) != 0)
		return listeners_set_error(&addr, MAPPING_TCP, errno, error);
	return 0;
}

static int open_names(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	if (names_open(&worker->names, config->keys_path, config->state_path, clock_now_ms(),
		    error) != 0) {
		if (config->has_user && error->hint[0] == '\0')
			error_hint(error, "with -U this is done as that user");
		return -1;
	}
	worker->names.registry.ended = end_revoked;
	worker->names.registry.context = &worker->tcp;
	worker->names.auth.counters = &worker->counters;
	worker->names.auth.sources = worker->tcp.sources;
	worker->names.auth.each = config->limits.name;
	worker->names.auth.limits_loopback = config->limits.loopback;
	if (!config->relay)
		return 0;
	if (relay_open(&worker->relay, &worker->loop, WORKER_TAG_RELAY, &config->relay_limits) != 0)
		return error_set(error, EXIT_STATUS_LOCAL, "no memory for relaying");
	worker->relay.counters = &worker->counters;
	worker->names.relay = &worker->relay;
	return 0;
}

static int open_loop(struct worker *worker, struct error *error)
{
	if (loop_open(&worker->loop) != 0)
		return worker_set_error(error, "make an event loop");
	worker->signals = signals_open();
	if (worker->signals < 0 || loop_add(&worker->loop, worker->signals, EPOLLIN,
					   worker_tag(WORKER_TAG_SIGNAL, 0)) != 0)
		return worker_set_error(error, "watch for signals");
	if (accept_open(&worker->acceptor) != 0)
		return worker_set_error(error, "open a spare descriptor");
	return 0;
}

static int open_between(struct worker *other, struct worker *first, uint32_t number)
{
	other->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (other->stop < 0 || worker_queue_open(&other->queue) != 0 ||
		worker_queue_open(&other->datagram_queue) != 0 ||
		loop_add(&other->loop, other->stop, EPOLLIN, worker_tag(WORKER_TAG_STOP, 0)) != 0)
		return -1;
	if (loop_add(&first->loop, other->queue.ends[1], EPOLLIN,
		    worker_tag(WORKER_TAG_QUEUE, number)) != 0)
		return -1;
	return loop_add(&first->loop, other->datagram_queue.ends[1], EPOLLIN,
		worker_tag(WORKER_TAG_QUEUE, number));
}

static struct worker *add_worker(struct reflector *reflector, struct error *error)
{
	struct worker *worker = worker_new();

	if (worker == NULL) {
		error_set(error, EXIT_STATUS_LOCAL, "no memory for a thread");
		return NULL;
	}
	worker->tcp.conntrack = &reflector->conntrack;
	reflector->workers[reflector->count++] = worker;
	return worker;
}

static int open_other(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	struct worker *first = reflector->workers[0];
	struct worker *other = add_worker(reflector, error);

	if (other == NULL)
		return -1;
	other->is_other = true;
	other->connections = first->connections;
	if (loop_open(&other->loop) != 0 || accept_open(&other->acceptor) != 0 ||
		open_between(other, first, first->other_count++) != 0 ||
		names_open(&other->names, NULL, NULL, 0, error) != 0 ||
		metrics_open(&other->metrics, 0, &other->loop, WORKER_TAG_METRICS, worker_collect,
			other) != 0)
		return worker_set_error(error, "prepare a thread");
	if (worker_open(other, config, error) != 0)
		return -1;
	other->tcp.alternates = first->tcp.alternates;
	other->tcp.queue = &other->queue;
	return listeners_share(other, first, error);
}

static int open_others(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	reflector->workers[0]->others = &reflector->workers[1];
	while (reflector->count < count_jobs(config))
		if (open_other(reflector, config, error) != 0)
			return -1;
	return 0;
}

/* The service manager's socket is connected while that is still allowed. */
static int confine(
	struct worker *worker, const struct reflector_config *config, struct error *error)
{
	notify_open(&worker->notify);
	return reflector_sandbox_enter(config, error);
}

static void log_start(const struct worker *worker, unsigned metrics_port)
{
	listeners_log(worker);
	if (worker->raw != NULL)
		log_note("listening for raw tcp");
	if (metrics_port != 0)
		log_note("counters at http://127.0.0.1:%u/metrics", metrics_port);
	if (worker->names.relay != NULL)
		log_note("relaying for names that cannot be had directly");
	if (worker->other_count > 0)
		log_note("%u threads", worker->other_count + 1);
	log_note("ready");
}

/*
 * Without silent closing each probe without -k loses its mapping within minutes, and does not learn
 * of it. Call this before the confinement: it looks up the path of its own program.
 */
static void warn_of_closing(const struct worker *worker)
{
	static const char so[] = "connections are closed in order, and NATs forget what a probe "
				 "without -k found within minutes";
	struct error error;

	if (worker->tcp.server.can_forget)
		return;
	if (privileges_hint(&error, PRIVILEGES_NET_ADMIN, ""))
		log_warning("without CAP_NET_ADMIN %s; %s", so, error.hint);
	else
		log_warning("this kernel has no TCP_REPAIR: %s", so);
}

/* The keys are read by the user who will read them again; after that nothing is opened. */
static int open_all(
	struct reflector *reflector, const struct reflector_config *config, struct error *error)
{
	struct worker *first = add_worker(reflector, error);

	if (first == NULL)
		return -1;
	first->shared = count_jobs(config) > 1;
	if (open_loop(first, error) != 0 || open_tables(first, config, error) != 0 ||
		listeners_open(first, config, error) != 0 || open_raw(first, error) != 0 ||
		open_metrics(first, config, error) != 0 ||
		open_others(reflector, config, error) != 0)
		return -1;
	warn_of_closing(first);
	if (reflector_sandbox_drop(config, error) != 0 || open_names(first, config, error) != 0 ||
		confine(first, config, error) != 0)
		return -1;
	open_dialler(first, config);
	log_start(first, config->metrics_port);
	return 0;
}

struct reflector *reflector_open(const struct reflector_config *config, struct error *error)
{
	struct reflector *reflector = calloc(1, sizeof(*reflector));

	if (reflector == NULL) {
		error_set(error, EXIT_STATUS_LOCAL, "no memory");
		return NULL;
	}
	conntrack_open(&reflector->conntrack, config);
	if (open_all(reflector, config, error) == 0)
		return reflector;
	reflector_close(reflector);
	return NULL;
}

void reflector_close(struct reflector *reflector)
{
	if (reflector == NULL)
		return;
	/* The first one last: the others count among its own. */
	while (reflector->count > 0)
		worker_close(reflector->workers[--reflector->count]);
	conntrack_close(&reflector->conntrack);
	free(reflector);
}

static void *run_other(void *context)
{
	struct error error;

	/* A bug, if it fails: the kernel goes on to give clients to a thread that has ended. */
	if (worker_run(context, &error) != 0)
		abort();
	return NULL;
}

static int start_others(struct reflector *reflector, struct error *error)
{
	pthread_attr_t attributes;
	int problem = pthread_attr_init(&attributes);

	if (problem == 0)
		problem = pthread_attr_setstacksize(&attributes, STACK_SIZE);
	for (uint32_t i = 1; i < reflector->count && problem == 0; i++) {
		struct worker *other = reflector->workers[i];

		problem = pthread_create(&other->thread, &attributes, run_other, other);
		other->runs = problem == 0;
	}
	pthread_attr_destroy(&attributes);
	errno = problem;
	return problem == 0 ? 0 : worker_set_error(error, "start a thread");
}

static void stop_others(struct reflector *reflector)
{
	const uint64_t one = 1;

	for (uint32_t i = 1; i < reflector->count; i++) {
		struct worker *other = reflector->workers[i];

		if (!other->runs || write(other->stop, &one, sizeof(one)) != sizeof(one))
			continue;
		pthread_join(other->thread, NULL);
		other->runs = false;
	}
}

int reflector_run(struct reflector *reflector, struct error *error)
{
	struct worker *first = reflector->workers[0];
	int result;

	if (start_others(reflector, error) != 0) {
		stop_others(reflector);
		return -1;
	}
	first->watchdog = first->notify.watchdog_ms > 0 ? 0 : TIMER_NONE;
	notify_ready(&first->notify);
	result = worker_run(first, error);
	stop_others(reflector);
	worker_log_suppressed(first, TIMER_NONE);
	notify_stopping(&first->notify);
	return result;
}
