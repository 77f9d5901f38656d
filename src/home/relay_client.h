/*
 * relay_client.h - makes home's half of a relayed connection: connects to the reflector, sends the
 * JOIN, and reads its answer (relay_messages.h). A state machine that is handed events and the
 * time.
 *
 * One lost packet does not end it: relay_client.c says what is tried again.
 *
 * Exactly the bytes of the answer are read: those after it are the session's.
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

#define RELAY_CLIENT_TIMEOUT_MS 5000 /* how long the reflector waits for us */
#define RELAY_CLIENT_WATCH_MAX  REFLECTOR_CALL_MAX

enum relay_client_state {
	RELAY_CLIENT_NONE, /* not in use */
	RELAY_CLIENT_CONNECTING,
	RELAY_CLIENT_ASKING,
	RELAY_CLIENT_PAUSING, /* until the next call */
	RELAY_CLIENT_OPEN,    /* relay_client_take() is to follow */
	RELAY_CLIENT_FAILED,  /* `problem` says why */
};

/* From where we connect to where. */
struct relay_client_path {
	struct addr reflector;
	struct addr local;     /* the port is not used; ADDR_NONE: any address */
	const char *interface; /* SO_BINDTODEVICE, or NULL */
};

struct relay_client {
	enum relay_client_state state;
	struct relay_ticket ticket;
	struct addr initiator; /* the initiator at the other end */
	struct relay_client_path path;
	struct reflector_call call; /* CONNECTING; its context is `path` */
	int fd;                     /* ASKING and OPEN; else -1 */
	uint64_t began;             /* when the last call began: clock_now_ms() */
	uint64_t due; /* when relay_client_advance() wants to be called without an event */
	uint64_t give_up;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct stun_stream stream;
	const char *problem; /* a constant: why the last call, or all, failed */
};

/*
 * Opens a socket that is connecting to `remote`, the reflector or an initiator, from any port of
 * the path's address or interface. Returns -1 and errno if it cannot.
 */
int relay_client_open(const struct relay_client_path *path, const struct addr *remote);

/*
 * Begins; the state may be FAILED at once. relay_client_end() must follow, and until then the
 * structure must stay where it is.
 */
void relay_client_start(struct relay_client *client, const struct relay_client_path *path,
	const struct relay_ticket *ticket, const struct addr *initiator, uint64_t now);

/* Fills all entries for poll(2). */
void relay_client_watch(
	const struct relay_client *client, struct pollfd fds[RELAY_CLIENT_WATCH_MAX]);

/* Goes on with what poll(2) found, or when `due` has come. */
void relay_client_advance(
	struct relay_client *client, const struct pollfd fds[RELAY_CLIENT_WATCH_MAX], uint64_t now);

/*
 * Only when RELAY_CLIENT_OPEN: returns the socket, which the caller owns from now on. Leaves
 * RELAY_CLIENT_NONE.
 */
int relay_client_take(struct relay_client *client);

/* Closes all sockets; leaves RELAY_CLIENT_NONE. */
void relay_client_end(struct relay_client *client);

#endif
