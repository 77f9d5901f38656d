/*
 * relay_client.h - home's way to a relayed connection: a connection to the reflector, the JOIN, and
 * its answer (relay_messages.h). A state machine that is handed events and the time.
 *
 * Of the answer not one byte too many is read: what follows it is the session.
 */
#ifndef NATPUNCH_HOME_RELAY_CLIENT_H
#define NATPUNCH_HOME_RELAY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/client/stun_stream.h"
#include "natpunch/proto/relay_messages.h"

#define RELAY_CLIENT_TIMEOUT_MS 5000 /* so long the reflector waits for us */

enum relay_client_state {
	RELAY_CLIENT_NONE, /* not in use */
	RELAY_CLIENT_CONNECTING,
	RELAY_CLIENT_ASKING,
	RELAY_CLIENT_OPEN,   /* relay_client_take() */
	RELAY_CLIENT_FAILED, /* `problem` says why */
};

struct relay_client {
	enum relay_client_state state;
	struct relay_ticket ticket;
	struct addr initiator; /* whom it leads to */
	int fd;
	uint64_t due; /* when it is given up */
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct stun_stream stream;
	const char *problem; /* static */
};

/* From where to where. */
struct relay_client_path {
	struct addr reflector;
	struct addr local;     /* its port does not count; ADDR_NONE: any address */
	const char *interface; /* SO_BINDTODEVICE, or NULL */
};

/*
 * A socket that connects from any port of the path's address or interface, to the reflector or to
 * somebody else. Returns -1 and errno.
 */
int relay_client_open(const struct relay_client_path *path, const struct addr *remote);

/* The state may already be FAILED. relay_client_end() must follow. */
void relay_client_start(struct relay_client *client, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now);

/* What to poll for; -1: nothing. */
int relay_client_fd(const struct relay_client *client);
short relay_client_events(const struct relay_client *client);

/* After an event on the descriptor (`happened`), or when `due` has come. */
void relay_client_advance(struct relay_client *client, bool happened, uint64_t now);

/* RELAY_CLIENT_OPEN: hands out the socket, the caller's from now on. Leaves RELAY_CLIENT_NONE. */
int relay_client_take(struct relay_client *client);

/* Closes what is open; leaves RELAY_CLIENT_NONE. */
void relay_client_end(struct relay_client *client);

#endif
