/*
 * metrics.h - the counters by HTTP, on loopback alone, for Prometheus and the like.
 */
#ifndef NATPUNCH_REFLECTOR_METRICS_H
#define NATPUNCH_REFLECTOR_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reflector/counters.h"
#include "natpunch/os/loop.h"

#define METRICS_LISTENERS   2 /* slots of loop events, before those of the clients */
#define METRICS_CLIENTS     32
#define METRICS_DESCRIPTORS (METRICS_LISTENERS + METRICS_CLIENTS)
#define METRICS_MS          2000
#define METRICS_LEAST_MS    100
#define METRICS_HEADERS     8192
#define METRICS_LINE        32 /* as much of the first line as matters */

/* Writes down how it stands now. */
typedef void metrics_collect(void *context, struct counters *out, uint64_t now);

struct metrics_client {
	int fd; /* -1: nobody */
	uint32_t generation;
	uint64_t came, due;
	size_t size; /* of the headers so far */
	uint8_t header_state;
	bool answered;
	char line[METRICS_LINE];
};

struct metrics {
	int listeners[METRICS_LISTENERS]; /* -1: not there */
	uint64_t resume;                  /* when they are looked at again, or TIMER_NONE */
	struct loop *loop;
	uint8_t tag_kind;
	metrics_collect *collect;
	void *context;
	struct counters counters;
	struct metrics_client clients[METRICS_CLIENTS];
	uint32_t used; /* of these */
	char text[COUNTERS_TEXT_SIZE];
	char answer[COUNTERS_TEXT_SIZE + 256];
};

/*
 * Listens on the port; with port 0 on none. A family that the kernel lacks is passed over. Returns
 * 0, or -1 and errno; then, too, metrics_close() must follow.
 */
int metrics_open(struct metrics *metrics, uint16_t port, struct loop *loop, uint8_t tag_kind,
	metrics_collect *collect, void *context);
void metrics_close(struct metrics *metrics);

/* An event with that tag_kind; one of a client that is gone is ignored. */
void metrics_event(struct metrics *metrics, struct loop_tag tag, uint64_t now);

/* When metrics_expire() has something to do next, or TIMER_NONE. */
uint64_t metrics_next(const struct metrics *metrics);
void metrics_expire(struct metrics *metrics, uint64_t now);

#endif
