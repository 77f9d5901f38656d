/*
 * tcp.h - what is said on the reflector's TCP connections.
 *
 *   first bytes            answer                       and then
 *   none for a while       the line                     close
 *   CR or LF               the line                     FIN, linger
 *   "GET ", "HEAD "        HTTP, after the empty line   FIN, linger
 *   a STUN request         STUN                         as its NATPUNCH-CONNECTION says (binding.h)
 *   anything else          none                         close
 *
 * After a STUN answer the connection stays for more requests, which are answered in their order:
 * for the idle time when the client is an ordinary one, until its interval has passed three times
 * when it is held, for as long as it wants with WAIT. With CLOSE it is closed at once: we first, so
 * that the TIME_WAIT is here and the client can use its port again. With FORGET it is looked at
 * until the client has acknowledged the answer, and then dropped without FIN or RST, so that the
 * NATs on the way keep the mapping; a client that closes meanwhile is closed with in order.
 *
 * A DIAL request (dialback.h) is answered when the outcome is known; answers to later requests may
 * come before that one. It does not change how the connection goes on, but for one that was to be
 * forgotten, which stays as an ordinary one.
 *
 * With `queue` a connection whose request is for the first thread goes there, with all that it
 * has sent from that request on.
 *
 * With RELAY and JOIN (relay_messages.h) the connection is handed to relay.c, and is none of ours
 * from then on.
 *
 * An answer that does not fit into the socket's buffer at once is a client that does not read; its
 * connection is closed. Every connection has a deadline at every moment.
 *
 * Over TCP a source is who it says it is, so there is a limit that forging cannot turn against
 * others (rate_table): a source that has asked more than its measure is not read for as long as it
 * has to wait. Nothing is refused, nothing is lost; it is the client that is slowed down, by its
 * own window. This host itself has no limit: a proxy there asks for everybody.
 */
#ifndef NATPUNCH_REFLECTOR_TCP_H
#define NATPUNCH_REFLECTOR_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/os/loop.h"
#include "natpunch/reflector/config.h"
#include "reflector/tcp_connection.h"
#include "reflector/worker_queue.h"

/*
 * tag_kind marks the loop events that belong to tcp_event(). `names` must outlive the
 * stream. Returns 0, or -1 when there is no memory for `connections`. What is
 * the caller's is set after this.
 */
int tcp_open(struct tcp_server *tcp, struct loop *loop, uint8_t tag_kind, uint32_t connections,
	const struct reflector_times *times, struct names *names);
void tcp_close(struct tcp_server *tcp);

/* Takes over a new connection and answers at once what has come with it. */
void tcp_adopt(struct tcp_server *tcp, int fd, const struct addr *peer, uint64_t now);

/* Takes over a connection that speaks STUN from another thread, and goes on with it. */
void tcp_take_over(struct tcp_server *tcp, const struct worker_queue_item *handed, uint64_t now);

/* Something happened to a connection; an event of one that is gone is ignored. */
void tcp_event(struct tcp_server *tcp, struct loop_tag tag, uint64_t now);

/*
 * Sends what was not known when the request of that connection was read; nothing when it is gone.
 * The tag is the one that reflector_dial was handed.
 */
void tcp_deliver(
	struct tcp_server *tcp, struct loop_tag asker, const void *data, size_t size, uint64_t now);

/* When tcp_expire() has something to do next, or TIMER_NONE. */
uint64_t tcp_next(struct tcp_server *tcp);
void tcp_expire(struct tcp_server *tcp, uint64_t now);

#endif
