/*
 * keepalive.h - is the other end of a connected TCP socket still there?
 *
 * The kernel asks the peer of a connection that is idle (TCP keep-alives, RFC 9293 section 3.8.4),
 * which also holds the NATs on the way open, and sends again what is not acknowledged. An end that
 * does not answer may come back: a laptop sleeps, or a line is down. So it is kept for long; a
 * table that is full asks here which of its connections have been unanswered for longest.
 */
#ifndef NATPUNCH_OS_KEEPALIVE_H
#define NATPUNCH_OS_KEEPALIVE_H

#include <stdint.h>

/*
 * After so long without a byte an end is asked, and again, and given up after as many times without
 * an answer, some 53 minutes. Both times are the same: a kernel that has asked looks at the clock
 * again after the second one, also when there was an answer (Linux, tcp_keepalive_timer()). NATs
 * have been seen to forget what is silent for 30 s.
 */
#define KEEPALIVE_IDLE_S  25
#define KEEPALIVE_PROBE_S 25
#define KEEPALIVE_PROBES  127 /* the most that Linux takes */

/* An end that has not answered for so long counts as dead: after the second question, and more. */
#define KEEPALIVE_DEAD_MS 60000

/* Has the kernel ask. A socket that is not TCP stays as it is. */
void keepalive_start(int fd);

/*
 * For how many milliseconds nothing has come from the peer, if that is `dead_ms` or more and the
 * kernel has asked at least twice without an answer since; else 0: the peer lives, or it cannot be
 * told. A peer that is idle and answers is never dead, however long ago it sent a byte.
 */
uint32_t keepalive_dead_ms(int fd, uint32_t dead_ms);

#endif
