/*
 * dialback_client.h - has a reflector dial back, to see whether a mapping lets strangers in.
 *
 * A state machine that takes events and the time, and never blocks:
 *
 *   CONNECTING --connected--> ASKING --answer--> DONE
 *        \_______________________\-----------> FAILED
 *
 * It asks over a connection of its own, from a port that the kernel chooses or the caller names, so
 * the request names the port to dial. The reflector dials the address that it sees this connection
 * come from. A NAT with several public addresses may use another one than for the mapping (RFC 4787
 * REQ-2 only recommends paired pooling); dialback_client_is_about() tells. To ask over an existing
 * connection, send dialback_write_request() and judge the answer by dialback_read_answer().
 *
 * Threat: a reflector that lies. It can say that a mapping works that does not, and the reverse;
 * two reflectors prove more than one. The banner that it reports is escaped before it is shown.
 */
#ifndef NATPUNCH_CLIENT_DIALBACK_CLIENT_H
#define NATPUNCH_CLIENT_DIALBACK_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/dialback.h"
#include "natpunch/base/error.h"
#include "natpunch/client/stun_stream.h"

/* For the whole of it: connecting, a dial that times out, and the way back. */
#define DIALBACK_CLIENT_TIMEOUT_MS (DIALBACK_TIMEOUT_MS + 3000)

enum dialback_client_state {
	DIALBACK_CLIENT_CONNECTING,
	DIALBACK_CLIENT_ASKING,
	DIALBACK_CLIENT_DONE,
	DIALBACK_CLIENT_FAILED,
};

struct dialback_client_request {
	struct addr reflector;
	struct addr local;     /* where to ask from; ADDR_NONE: anywhere; port 0: any */
	const char *interface; /* for SO_BINDTODEVICE, or NULL; must outlive the client */
	uint8_t places;        /* DIALBACK_SAME_ADDRESS | DIALBACK_OTHER_ADDRESS */
	uint16_t port;         /* the mapping's public port */
};

struct dialback_client {
	enum dialback_client_state state;
	struct addr reflector;
	struct dialback_request question;
	int fd;
	uint64_t due; /* when advance() wants to be called without an event */
	struct stun_stream stream;
	struct dialback_answer answer; /* when DONE */
	struct error error;            /* when FAILED */
	bool unsupported;              /* when FAILED: that server does not dial anybody back */
	bool silent; /* when FAILED: it ended the connection without a byte; it may be one of those,
		      * or the connection was cut */
};

/* Starts. dialback_client_end() must follow in every case. */
void dialback_client_start(struct dialback_client *client,
	const struct dialback_client_request *request, uint64_t now);

/* What to poll for: events for poll(2), and the descriptor (or -1). */
int dialback_client_fd(const struct dialback_client *client);
short dialback_client_events(const struct dialback_client *client);

/* Goes on after an event on the descriptor, or when `due` has come. */
void dialback_client_advance(struct dialback_client *client, uint64_t now);

void dialback_client_end(struct dialback_client *client);

/* DONE: was it this address and port that was dialled? */
bool dialback_client_is_about(const struct dialback_client *client, const struct addr *mapped);

#endif
