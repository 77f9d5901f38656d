/*
 * udp_arrivals.h - what comes to a UDP port of answers to questions that were asked from another
 * one.
 *
 * Two descriptors look at the port, also when another program has it: a raw socket behind this
 * machine's firewall, and a tap before it. Both take CAP_NET_RAW. Without that the port itself is
 * bound for the while, if it is free or ours; then nothing tells what the firewall dropped, and all
 * that comes to the port comes here.
 *
 * Threat: everybody can send to the port. What counts is the random transaction of a question.
 */
#ifndef NATPUNCH_CLIENT_UDP_ARRIVALS_H
#define NATPUNCH_CLIENT_UDP_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"

#define UDP_ARRIVALS_MAX 8 /* questions */

struct udp_arrival {
	struct binding_request question;
	bool heard;         /* the port gets it */
	bool arrived;       /* at this machine */
	struct addr source; /* of what arrived last */
};

/* Takes a datagram that answers none of the questions, from a port that is bound. */
typedef void udp_arrivals_stray(
	void *context, const struct addr *source, const void *data, size_t size);

struct udp_arrivals {
	struct addr local;         /* address and port */
	int socket;                /* or -1 */
	bool raw;                  /* the socket sees the port of somebody else */
	int tap;                   /* or -1 */
	udp_arrivals_stray *stray; /* or NULL; the owner may set it once it is open */
	void *context;
	struct udp_arrival expected[UDP_ARRIVALS_MAX];
	size_t count;
};

/* Begins to look; returns 0, or -1 and errno. udp_arrivals_close() must follow in every case. */
int udp_arrivals_open(struct udp_arrivals *arrivals, const struct addr *local);

/* The answer to this is waited for from now on. NULL when the table is full. */
struct udp_arrival *udp_arrivals_expect(
	struct udp_arrivals *arrivals, const struct binding_request *question);

/* Takes what has come, a bounded number of datagrams. */
void udp_arrivals_read(struct udp_arrivals *arrivals);

/* Ends looking; twice is once. What was seen stays. */
void udp_arrivals_close(struct udp_arrivals *arrivals);

#endif
