/*
 * relay_client.h - home's way to a relayed connection: a connection to the reflector, the JOIN, and
 * its answer (relay_messages.h). A state machine that is handed events and the time.
 *
 * A packet that is lost does not end it: relay_client.c says what is tried again.
 *
 * Of the answer not one byte too many is read: what follows it is the session.
 */
#ifndef NATPUNCH_HOME_RELAY_CLIENT_H
#define NATPUNCH_HOME_RELAY_CLIENT_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/client/reflector_call.h"
#include "natpunch/client/stun_stream.h"
#include "natpunch/proto/relay_messages.h"

#define RELAY_CLIENT_TIMEOUT_MS 5000 /* so long the reflector waits for us */
#define RELAY_CLIENT_WATCH_MAX  REFLECTOR_CALL_MAX

enum relay_client_state {
	RELAY_CLIENT_NONE, /* not in use */
	RELAY_CLIENT_CONNECTING,
	RELAY_CLIENT_ASKING,
	RELAY_CLIENT_PAUSING, /* until it is tried again */
	RELAY_CLIENT_OPEN,    /* relay_client_take() */
	RELAY_CLIENT_FAILED,  /* `problem` says why */
};

/* From where to where. */
struct relay_client_path {
	struct addr reflector;
	struct addr local;     /* its port does not count; ADDR_NONE: any address */
	const char *interface; /* SO_BINDTODEVICE, or NULL */
};

struct relay_client {
	enum relay_client_state state;
	struct relay_ticket ticket;
	struct addr initiator; /* whom it leads to */
	struct relay_client_path path;
	struct reflector_call call; /* CONNECTING; its context is the path */
	int fd;                     /* ASKING and OPEN; else -1 */
	uint64_t began;             /* the call, by clock_now_ms() */
	uint64_t due;               /* when relay_client_advance() is wanted without an event */
	uint64_t give_up;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct stun_stream stream;
	const char *problem; /* static; of the last try, or why it failed */
};

/*
 * A socket that connects from any port of the path's address or interface, to the reflector or to
 * somebody else. Returns -1 and errno.
 */
int relay_client_open(const struct relay_client_path *path, const struct addr *remote);

/*
 * The state may already be FAILED. relay_client_end() must follow; until then the structure stays
 * where it is.
 */
void relay_client_start(struct relay_client *client, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now);

/* Fills all entries for poll(2). */
void relay_client_watch(
	const struct relay_client *client, struct pollfd fds[RELAY_CLIENT_WATCH_MAX]);

/* Goes on with what poll(2) found, or when `due` has come. */
void relay_client_advance(
	struct relay_client *client, const struct pollfd fds[RELAY_CLIENT_WATCH_MAX], uint64_t now);

/* RELAY_CLIENT_OPEN: hands out the socket, the caller's from now on. Leaves RELAY_CLIENT_NONE. */
int relay_client_take(struct relay_client *client);

/* Closes what is open; leaves RELAY_CLIENT_NONE. */
void relay_client_end(struct relay_client *client);

#endif
