/*
 * tcp_connection.h - the TCP server's memory, and what tcp.c, which reads a connection, and
 * tcp_answer.c, which answers its messages, both do with it.
 *
 * A connection is its slot in the server's table. Functions that read or answer do not end it, and
 * return a fate, which tcp.c carries out in one place: so none goes on with a slot that is gone.
 */
#ifndef NATPUNCH_REFLECTOR_TCP_CONNECTION_H
#define NATPUNCH_REFLECTOR_TCP_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/binding.h"
#include "reflector/conntrack.h"
#include "reflector/forget_limit.h"
#include "reflector/counters.h"
#include "natpunch/os/loop.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/reflector/config.h"
#include "reflector/dialler.h"
#include "reflector/worker_queue.h"
#include "reflector/names.h"
#include "reflector/alternate.h"
#include "reflector/tcp_table.h"

#define TCP_SERVER_INPUT  (STUN_MESSAGE_MAX + 4096) /* a begun request, and one read */
#define TCP_SERVER_OUTPUT 4096

struct tcp_server {
	struct tcp_table table;
	struct reflector_times times;
	struct binding_server server;
	struct names *names;
	struct loop *loop;
	struct dialler *dialler;            /* the caller's */
	struct counters *counters;          /* the caller's, or NULL */
	const struct conntrack *conntrack;  /* the caller's, or NULL */
	const struct worker_queue *queue;   /* the caller's; NULL: all is answered here */
	struct rate_limit_table *sources;   /* the caller's; or NULL: no limit for a source */
	struct forget_limit *forgets;       /* the caller's; or NULL: no limit */
	bool limits_loopback;               /* also for one on this host */
	uint32_t asked;                     /* messages of the connection at hand */
	const struct alternate *alternates; /* two, the caller's; or NULL: no RFC 5780 */
	uint8_t tag_kind;
	uint8_t input[TCP_SERVER_INPUT]; /* of the connection at hand */
	uint8_t output[TCP_SERVER_OUTPUT];
};

enum tcp_fate {
	TCP_FATE_KEEP,
	TCP_FATE_CLOSE,
	TCP_FATE_FORGET,
	TCP_FATE_GIVEN,  /* the descriptor belongs to a relay now */
	TCP_FATE_QUEUED, /* or to the first worker, which goes on with it */
};

static inline struct tcp_connection *tcp_connection_at(struct tcp_server *tcp, uint32_t slot)
{
	return &tcp->table.connections[slot];
}

/* Is it still the one that the tag was made for? */
bool tcp_connection_is_there(struct tcp_server *tcp, struct loop_tag tag);

struct loop_tag tcp_connection_tag(struct tcp_server *tcp, uint32_t slot);

/* For the log: what it did, or what became of it. */
void tcp_connection_log(const struct tcp_connection *connection, const char *what);

/* Returns whether all of it went out at once; if not, the client does not read. */
bool tcp_connection_send(const struct tcp_connection *connection, const void *data, size_t size);

/* The name that was registered over this connection, if any, is not held by it any more. */
void tcp_connection_release_name(struct tcp_server *tcp, uint32_t slot, uint64_t now);

/*
 * Takes it out of the loop, for a relay or the first worker, once the `used` bytes of the server's
 * output, answers to earlier requests, are sent. Returns whether they were. What the client has
 * sent behind the request at hand is the caller's to pass on.
 */
bool tcp_connection_give_away(struct tcp_server *tcp, uint32_t slot, size_t used);

#endif
