/*
 * worker.h - a worker of the reflector: one thread, its loop, and all that it serves.
 *
 * The first worker has everything. The others (see reflector.h) have only ports, connections,
 * counters and sources of their own. The fields are for reflector.c, listeners.c and worker.c.
 */
#ifndef NATPUNCH_REFLECTOR_WORKER_H
#define NATPUNCH_REFLECTOR_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"
#include "reflector/counters.h"
#include "natpunch/base/error.h"
#include "natpunch/os/loop.h"
#include "natpunch/os/notify.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/reflector/config.h"
#include "reflector/accept.h"
#include "reflector/udp.h"
#include "reflector/dialler.h"
#include "reflector/forget_limit.h"
#include "reflector/worker_queue.h"
#include "reflector/metrics.h"
#include "reflector/names.h"
#include "reflector/alternate.h"
#include "reflector/raw_answer.h"
#include "reflector/relay.h"
#include "reflector/tcp.h"

#define WORKER_FAMILIES     2 /* IPv4, IPv6: index of what each has its own of */
#define WORKER_LISTENER_MAX (REFLECTOR_LISTEN_MAX + WORKER_FAMILIES * ALTERNATE_EXTRA)

enum worker_tag {
	WORKER_TAG_SIGNAL,
	WORKER_TAG_DATAGRAM,
	WORKER_TAG_LISTENER,
	WORKER_TAG_CONNECTION,
	WORKER_TAG_RAW,
	WORKER_TAG_RELAY,
	WORKER_TAG_DIALLER,
	WORKER_TAG_METRICS,
	WORKER_TAG_QUEUE, /* the slot says of which of the others */
	WORKER_TAG_STOP,
};

/* What one address is served by. */
struct worker_listener {
	struct reflector_listen listen;
	struct udp_port served;
	int datagram; /* -1 for REFLECTOR_TEXT, and where the family is missing */
	int listener;
	struct accept_batch batch;
};

struct worker {
	struct loop loop;
	int signals;
	struct worker_listener ports[WORKER_LISTENER_MAX];
	struct addr listens[WORKER_LISTENER_MAX]; /* their addresses */
	struct alternate alternates[WORKER_FAMILIES];
	uint32_t port_count;
	uint32_t connections; /* this worker's share */
	struct acceptor acceptor;
	uint64_t resume; /* when the listeners are looked at again, or TIMER_NONE */
	struct udp_batch *datagrams;
	struct binding_server datagram_server;
	struct reflector_listen raw_listen[WORKER_LISTENER_MAX];
	struct raw_answer *raw; /* NULL: this machine cannot */
	struct tcp_server tcp;
	struct names names;
	struct relay relay;
	struct dialler dialler;
	struct metrics metrics;
	struct counters counters;
	struct rate_limit_table sources;
	struct rate_limit_source *sources_memory;
	struct forget_limit forgets;
	uint64_t suppressed;  /* lines of the log, as was last logged */
	uint64_t log_due;     /* when the next number of them may be logged */
	struct notify notify; /* the service manager, while the loop runs */
	uint64_t watchdog;    /* when it wants to hear of us again, or TIMER_NONE */
	/* The first worker's: */
	struct worker **others; /* the caller's */
	uint32_t other_count;
	bool shared; /* the ports are */
	/* Those of the others: */
	bool is_other, runs;
	struct worker_queue queue; /* for connections; */
	struct worker_queue datagram_queue;
	int stop;
	pthread_t thread;
};

/* A loop's tag for a descriptor of that kind. */
struct loop_tag worker_tag(enum worker_tag kind, uint32_t slot);

/* Fills *error with what could not be done, and errno; returns -1. */
int worker_set_error(struct error *error, const char *what);

/* Nothing in it is open; NULL: no memory. Must go to worker_close(). */
struct worker *worker_new(void);

/*
 * Allocates what each worker has of its own, for as many connections as worker->connections
 * says. The loop must be open. Returns 0, or -1 with *error filled.
 */
int worker_open(struct worker *worker, const struct reflector_config *config, struct error *error);

/* Closes and frees what this worker has, itself as well. */
void worker_close(struct worker *worker);

/* Serves until it is told to end. Returns 0, or -1 with *error filled: a bug. */
int worker_run(struct worker *worker, struct error *error);

/* How it stands with the first worker, the context, and all others: metrics.h. */
void worker_collect(void *context, struct counters *out, uint64_t now);

/* Logs how many lines of the log were not written, once in a while: now may be TIMER_NONE. */
void worker_log_suppressed(struct worker *worker, uint64_t now);

#endif
