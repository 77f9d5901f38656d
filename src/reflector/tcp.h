/*
 * tcp.h - serves the reflector's TCP connections.
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
 * server. Returns 0, or -1 when there is no memory for `connections`. What is the caller's is set
 * after this.
 */
int tcp_open(struct tcp_server *tcp, struct loop *loop, uint8_t tag_kind, uint32_t connections,
	const struct reflector_times *times, struct names *names);
void tcp_close(struct tcp_server *tcp);

/* Takes over a new connection and answers the requests that came with it. */
void tcp_adopt(struct tcp_server *tcp, int fd, const struct addr *peer, uint64_t now);

/* Takes over a connection that speaks STUN from another worker, and goes on with it. */
void tcp_take_over(struct tcp_server *tcp, const struct worker_queue_item *item, uint64_t now);

/* Something happened to a connection; an event of one that is gone is ignored. */
void tcp_event(struct tcp_server *tcp, struct loop_tag tag, uint64_t now);

/*
 * Sends an answer that was not known when the request was read; nothing if the connection is gone.
 * The tag is the one that dialler_answer() was handed.
 */
void tcp_deliver(
	struct tcp_server *tcp, struct loop_tag asker, const void *data, size_t size, uint64_t now);

/* Ends a held connection whose name's key is no longer valid; nothing when it is gone. */
void tcp_revoke(struct tcp_server *tcp, uint32_t slot, uint32_t generation, uint64_t now);

/* When tcp_expire() has something to do next, or TIMER_NONE. */
uint64_t tcp_next(struct tcp_server *tcp);
void tcp_expire(struct tcp_server *tcp, uint64_t now);

#endif
