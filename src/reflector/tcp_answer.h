/*
 * tcp_answer.h - answers a message over TCP, and tells how the connection goes on.
 */
#ifndef NATPUNCH_REFLECTOR_TCP_ANSWER_H
#define NATPUNCH_REFLECTOR_TCP_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "reflector/tcp_connection.h"

/*
 * Answers one whole message of `size` bytes (stun_frame()) behind the *used bytes that are in the
 * server's output already; these are sent first where there is no room for another answer. The
 * message may lie in the server's input. `now` is clock_now_ms().
 */
enum tcp_fate tcp_answer_message(struct tcp_server *tcp, uint32_t slot, const uint8_t *message,
	size_t size, uint64_t now, size_t *used);

#endif
