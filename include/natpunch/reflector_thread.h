/*
 * reflector_thread.h - one loop of the reflector, and all that it serves.
 *
 * The first thread's holds everything; those of the others (see reflector.h) have ports,
 * connections, counters and sources of their own, and nothing of the rest. What is in it is for
 * the sources that make one up: reflector.c, reflector_ports.c and reflector_thread.c.
 */
#ifndef NATPUNCH_REFLECTOR_THREAD_H
#define NATPUNCH_REFLECTOR_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/binding.h"
#include "natpunch/counters.h"
#include "natpunch/error.h"
#include "natpunch/loop.h"
#include "natpunch/notify.h"
#include "natpunch/rate.h"
#include "natpunch/reflector.h"
#include "natpunch/reflector_accept.h"
#include "natpunch/reflector_datagram.h"
#include "natpunch/reflector_dial.h"
#include "natpunch/reflector_handoff.h"
#include "natpunch/reflector_metrics.h"
#include "natpunch/reflector_names.h"
#include "natpunch/reflector_places.h"
#include "natpunch/reflector_raw.h"
#include "natpunch/reflector_relay.h"
#include "natpunch/reflector_stream.h"

#define REFLECTOR_FAMILIES 2 /* IPv4, IPv6: index of what each has its own of */
#define REFLECTOR_PORT_MAX (REFLECTOR_LISTEN_MAX + REFLECTOR_FAMILIES * REFLECTOR_PLACES_EXTRA)

enum reflector_tag {
	REFLECTOR_TAG_SIGNAL,
	REFLECTOR_TAG_DATAGRAM,
	REFLECTOR_TAG_LISTENER,
	REFLECTOR_TAG_CONNECTION,
	REFLECTOR_TAG_RAW,
	REFLECTOR_TAG_RELAY,
	REFLECTOR_TAG_DIAL,
	REFLECTOR_TAG_METRICS,
	REFLECTOR_TAG_HANDED, /* the slot is the number of the thread that it comes from */
	REFLECTOR_TAG_STOP,
};

/* What one address is served by. */
struct reflector_port {
	struct reflector_listen listen;
	struct reflector_datagram_port served;
	int datagram; /* -1 for REFLECTOR_TEXT, and where the family is missing */
	int listener;
	struct reflector_accept_batch batch;
};

struct reflector {
	struct loop loop;
	int signals;
	struct reflector_port ports[REFLECTOR_PORT_MAX];
	struct addr listens[REFLECTOR_PORT_MAX]; /* their addresses */
	struct reflector_places places[REFLECTOR_FAMILIES];
	uint32_t port_count;
	uint32_t connections; /* this thread's share */
	struct reflector_accept acceptor;
	uint64_t resume; /* when the listeners are looked at again, or DEADLINE_NONE */
	struct reflector_datagram *datagrams;
	struct binding_server datagram_server;
	struct reflector_listen raw_listen[REFLECTOR_PORT_MAX];
	struct reflector_raw *raw; /* NULL: this machine cannot */
	struct reflector_stream stream;
	struct reflector_names names;
	struct reflector_relay relay;
	struct reflector_dial dial;
	struct reflector_metrics metrics;
	struct counters counters;
	struct rate_table sources;
	struct rate_source *sources_memory;
	uint64_t suppressed;  /* lines of the log, as was last told */
	uint64_t tell_due;    /* when the next number of them may be told */
	struct notify notify; /* the service manager, while the loop runs */
	uint64_t watchdog;    /* when it wants to hear of us again, or DEADLINE_NONE */
	/* The first thread's: */
	struct reflector *others[REFLECTOR_JOBS_MAX - 1];
	uint32_t other_count;
	bool shared; /* the ports are */
	/* Those of the others: */
	bool is_other, runs;
	struct reflector_handoff handoff; /* for connections; */
	struct reflector_handoff datagram_handoff;
	int stop;
	pthread_t thread;
};

/* A loop's tag for a descriptor of that kind. */
struct loop_tag reflector_thread_tag(enum reflector_tag kind, uint32_t slot);

/* Fills *error with what could not be done, and errno; returns -1. */
int reflector_thread_fail(struct error *error, const char *what);

/* Nothing in it is open; NULL: no memory. Must go to reflector_thread_close(). */
struct reflector *reflector_thread_new(void);

/*
 * Allocates what each thread has of its own, for as many connections as reflector->connections
 * says. The loop must be open. Returns 0, or -1 with *error filled.
 */
int reflector_thread_open(
	struct reflector *reflector, const struct reflector_config *config, struct error *error);

/* Closes and frees what this thread has, itself as well. */
void reflector_thread_close(struct reflector *reflector);

/* Serves until it is told to end. Returns 0, or -1 with *error filled: a bug. */
int reflector_thread_run(struct reflector *reflector, struct error *error);

/* How it stands with the first thread, the context, and all others: reflector_metrics.h. */
void reflector_thread_collect(void *context, struct counters *out, uint64_t now);

/* Logs how many lines of the log were not written, once in a while: now may be DEADLINE_NONE. */
void reflector_thread_tell(struct reflector *reflector, uint64_t now);

#endif
