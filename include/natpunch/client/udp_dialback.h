/*
 * udp_dialback.h - has a reflector send to a UDP mapping from where nobody was contacted.
 *
 * There is no method of its own for that: RFC 5780 has all it takes. From another local port, so
 * that asking makes no room for it in the NAT, the reflector is asked
 *
 *   1. what its other address is, and as what it sees us (Binding; OTHER-ADDRESS);
 *   2. to answer to the mapping's port (RESPONSE-PORT): from its other address, and from another
 *      port of the one that is asked (CHANGE-REQUEST).
 *
 * What of that arrives (udp_arrivals.h) is the outcome: DIALBACK_CONNECTED for what the port gets,
 * else DIALBACK_TIMED_OUT. So it is this machine that sees it, and not the reflector that says it.
 * A reflector without a second address (reflect -a) cannot, and is `unsupported`.
 *
 * Each question is sent up to three times, as datagrams get lost. A state machine that is handed
 * events and the time, and never blocks. It fills in what dialback_client.h has for the same over
 * TCP: state, due, answer, error; that one's advance is not to be called.
 */
#ifndef NATPUNCH_CLIENT_UDP_DIALBACK_H
#define NATPUNCH_CLIENT_UDP_DIALBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/client/dialback_client.h"
#include "natpunch/client/udp_arrivals.h"
#include "natpunch/proto/binding.h"

struct udp_dialback {
	struct dialback_client *client; /* the caller's: what comes of it */
	struct udp_arrivals *arrivals;  /* the caller's */
	struct binding_request question;
	uint16_t port;                                        /* the mapping's */
	const struct udp_arrival *calls[DIALBACK_RESULT_MAX]; /* of each result; NULL: not tried */
	uint64_t began;                                       /* to ask, then to call */
	uint64_t again;
	unsigned sent;
	bool calling;
};

/* Starts; both structs must stay where they are. dialback_client_end() must follow. */
void udp_dialback_start(struct udp_dialback *dialback, struct dialback_client *client,
	struct udp_arrivals *arrivals, const struct dialback_client_request *request, uint64_t now);

/* Goes on after an event on the descriptor or on those of the arrivals, or when `due` has come. */
void udp_dialback_advance(struct udp_dialback *dialback, uint64_t now);

#endif
