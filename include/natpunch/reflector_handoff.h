/*
 * reflector_handoff.h - from a thread of the reflector to the first one, which alone has names,
 * relays and calls back to clients: a connection, or a datagram, with what it has asked so far.
 *
 * A socket pair of records, for each thread its own, one for connections and one for datagrams; the
 * descriptor of a connection goes over as a number, for it is one process. Nothing waits: when the
 * pair is full the connection is closed, and the datagram is lost, as it might have been before.
 * Two pairs, as anybody can send datagrams without a limit, and none of them is to cost a
 * connection.
 */
#ifndef NATPUNCH_REFLECTOR_HANDOFF_H
#define NATPUNCH_REFLECTOR_HANDOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "natpunch/addr.h"

#define REFLECTOR_HANDOFF_BYTES   5120 /* longest of what was read at once */
#define REFLECTOR_HANDOFF_CONTROL 64   /* longest control message of a datagram */

struct reflector_handoff {
	int ends[2]; /* the thread's, and the first one's */
};

struct reflector_handed {
	int fd; /* a connection, of whoever has the record; or -1: it is a datagram */
	/* a connection: */
	struct addr peer;
	uint16_t hold_seconds;
	uint8_t mode; /* enum binding_mode */
	/* a datagram: as recvmsg(2) has told it */
	uint32_t port; /* which of the ports it came to */
	struct sockaddr_storage from;
	socklen_t from_size;
	socklen_t control_size;
	uint8_t control[REFLECTOR_HANDOFF_CONTROL];
	/* both: */
	size_t size;
	uint8_t bytes[REFLECTOR_HANDOFF_BYTES];
};

/* Returns 0, or -1 and errno. */
int reflector_handoff_open(struct reflector_handoff *handoff);
void reflector_handoff_close(struct reflector_handoff *handoff);

/* Is this message one for the first thread? */
bool reflector_handoff_wants(const void *message, size_t size);

/* Returns false when it could not be handed over: then the descriptor is the caller's still. */
bool reflector_handoff_send(
	const struct reflector_handoff *handoff, const struct reflector_handed *handed);

/* The next one, or false when there is none. */
bool reflector_handoff_receive(
	const struct reflector_handoff *handoff, struct reflector_handed *handed);

#endif
