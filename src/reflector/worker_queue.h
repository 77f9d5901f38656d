/*
 * worker_queue.h - passes a connection or a datagram, with its requests so far, from a worker to
 * the first one, which alone has names, relays and dial-backs.
 *
 * Each worker has two socket pairs of records, one for connections and one for datagrams; the
 * descriptor of a connection is passed as a number, within the one process. Nothing waits: when a
 * pair is full the connection is closed, or the datagram lost, as it could be on the way. There are
 * two pairs because anybody can send datagrams without a limit, which must not cost a connection.
 */
#ifndef NATPUNCH_REFLECTOR_WORKER_QUEUE_H
#define NATPUNCH_REFLECTOR_WORKER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "natpunch/base/addr.h"

#define WORKER_QUEUE_BYTES   5120 /* longest of what was read at once */
#define WORKER_QUEUE_CONTROL 64   /* longest control message of a datagram */

struct worker_queue {
	int ends[2]; /* the worker's, and the first one's */
};

struct worker_queue_item {
	int fd; /* a connection, owned by the item's owner; or -1: it is a datagram */
	/* a connection: */
	struct addr peer;
	uint16_t hold_seconds;
	uint8_t mode; /* enum binding_mode */
	/* a datagram: as recvmsg(2) has told it */
	uint32_t port; /* which of the ports it came to */
	struct sockaddr_storage from;
	socklen_t from_size;
	socklen_t control_size;
	uint8_t control[WORKER_QUEUE_CONTROL];
	/* both: */
	size_t size;
	uint8_t bytes[WORKER_QUEUE_BYTES];
};

/* Returns 0, or -1 and errno. */
int worker_queue_open(struct worker_queue *queue);
void worker_queue_close(struct worker_queue *queue);

/* Is this message one for the first worker? */
bool worker_queue_wants(const void *message, size_t size);

/* Returns false when there is no room: then the descriptor is the caller's still. */
bool worker_queue_send(const struct worker_queue *queue, const struct worker_queue_item *item);

/* The next one, or false when there is none. */
bool worker_queue_receive(const struct worker_queue *queue, struct worker_queue_item *item);

#endif
