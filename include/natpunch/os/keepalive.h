/*
 * keepalive.h - is the other end of a connected TCP socket still there?
 *
 * The kernel sends keep-alives on an idle connection (RFC 9293 section 3.8.4), which also keep the
 * mappings in the NATs on the way, and sends again what is not acknowledged. An end that does not
 * answer may come back: a laptop sleeps, or a line is down. So it is kept for long; a full table
 * asks here which of its connections have been unanswered for longest.
 */
#ifndef NATPUNCH_OS_KEEPALIVE_H
#define NATPUNCH_OS_KEEPALIVE_H

#include <stdint.h>

/*
 * The kernel sends a keep-alive after KEEPALIVE_IDLE_S without a byte, repeats it at the interval
 * below, and gives up after KEEPALIVE_PROBES without an answer, some 53 minutes. Both times are the
 * same, as after a keep-alive the kernel waits for the second one even if it was answered (Linux,
 * tcp_keepalive_timer()). Some NATs forget a connection that is silent for 30 s.
 */
#define KEEPALIVE_IDLE_S  25
#define KEEPALIVE_PROBE_S 25
#define KEEPALIVE_PROBES  127 /* the most that Linux takes */

/* An end that has not answered for so long counts as dead: longer than two keep-alives take. */
#define KEEPALIVE_DEAD_MS 60000

/* Switches keep-alives on. A socket that is not TCP stays as it is. */
void keepalive_start(int fd);

/*
 * For how many milliseconds nothing has come from the peer, if that is `dead_ms` or more and the
 * kernel has asked at least twice without an answer since; else 0: the peer lives, or it cannot be
 * told. A peer that is idle and answers is never dead, however long ago it sent a byte.
 */
uint32_t keepalive_dead_ms(int fd, uint32_t dead_ms);

#endif
