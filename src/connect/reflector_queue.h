/*
 * reflector_queue.h - the addresses of all reflectors that the initiator was given.
 *
 * All names are looked up at the same time, so none waits for a silent name server. A domain with
 * SRV records stands for several reflectors.
 *
 * Table: REFLECTOR_QUEUE_MAX addresses, the same number for each name; the addresses of a name are
 * added with the families by turns. Rule for more: they are left out.
 */
#ifndef NATPUNCH_CONNECT_REFLECTOR_QUEUE_H
#define NATPUNCH_CONNECT_REFLECTOR_QUEUE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/client/reflector_list.h"
#include "natpunch/os/resolve.h"
#include "natpunch/proto/nat64.h"

#define REFLECTOR_QUEUE_MAX       32
#define REFLECTOR_QUEUE_WATCH_MAX REFLECTOR_LIST_MAX

struct reflector_address {
	struct addr target;      /* where to connect to */
	enum addr_family family; /* that the reflector sees us in: IPv4 behind a NAT64 */
	struct nat64_prefix nat64;
	unsigned reflector; /* the same for all addresses of one; in the order to try them */
};

struct reflector_queue {
	const struct reflector_list *list;
	struct resolve names[REFLECTOR_LIST_MAX];
	bool is_told[REFLECTOR_LIST_MAX];                        /* its end was followed */
	struct reflector_address addresses[REFLECTOR_QUEUE_MAX]; /* of the names looked up */
	size_t count;
	struct error error; /* of the first look-up that failed; text "" before */
};

/* Begins all look-ups; *list and the helper must outlive it. reflector_queue_end() must follow. */
void reflector_queue_start(struct reflector_queue *queue, const struct reflector_list *list,
	enum addr_family family, const struct resolve_helper *helper);

void reflector_queue_watch(
	const struct reflector_queue *queue, struct pollfd fds[REFLECTOR_QUEUE_WATCH_MAX]);
void reflector_queue_advance(
	struct reflector_queue *queue, const struct pollfd fds[REFLECTOR_QUEUE_WATCH_MAX]);

/* Is a name still looked up? */
bool reflector_queue_is_growing(const struct reflector_queue *queue);

/* Is there more than one reflector, as far as is known? */
bool reflector_queue_has_several(const struct reflector_queue *queue);

/* The time is up: sets `error` if a look-up has not ended. */
void reflector_queue_expire(struct reflector_queue *queue);

void reflector_queue_end(struct reflector_queue *queue);

#endif
