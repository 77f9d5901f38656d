/*
 * punch.h - one end of a TCP simultaneous open (RFC 9293 3.5), tried until it is established.
 *
 * Both ends connect() to each other's public address from the port whose mapping is known. A SYN
 * that leaves opens the NAT for the peer's SYN, which finds a socket in SYN_SENT and completes the
 * handshake; both ends get an ordinary connection. What can fail, and what is done:
 *
 *   the peer's NAT or host answers RST, as its own SYN was not out yet: that RST also deletes our
 *   NAT's entry. A new socket is tried after PUNCH_RETRY_MS and a little more at random, so that
 *   two ends that refuse each other in turn do not do so for ever; a SYN is lost or silently
 *   dropped: the kernel sends it again after a second. If both NATs filter, one SYN that arrives is
 *   enough; an owner whose peer lets strangers in can add a punch from another port (`once`); the
 *   pair of addresses is in use, as the peer has come through to a listener of this port: it is
 *   tried again until the time is up, as that connection may be only half open.
 *
 * Given up after PUNCH_TIMEOUT_MS, or sooner if there is something else to try: a NAT that follows
 * RFC 5382 REQ-4 waits 6 s before it answers an unsolicited SYN, others answer at once.
 */
#ifndef NATPUNCH_CLIENT_PUNCH_H
#define NATPUNCH_CLIENT_PUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

#define PUNCH_RETRY_MS   50
#define PUNCH_TIMEOUT_MS 4000

enum punch_state {
	PUNCH_NONE, /* not in use */
	PUNCH_TRYING,
	PUNCH_OPEN,   /* connected: punch_take() */
	PUNCH_FAILED, /* given up; `problem` is the last errno */
};

/*
 * Opens a non-blocking socket bound to our port and connects it to `remote`. Returns a descriptor
 * that is connecting, or -1 and errno; EAGAIN: it may not send now, which does not count as a try.
 */
typedef int punch_opener(void *context, const struct addr *remote);

struct punch {
	enum punch_state state;
	struct addr remote;
	punch_opener *open;
	void *context;
	int fd;           /* connecting, or -1 between two tries */
	uint64_t due;     /* when punch_advance() is wanted without an event */
	uint64_t give_up; /* clock_now_ms() */
	unsigned tries;
	int problem;
	bool once; /* set by the owner after the start: the first try that fails is the last */
};

/*
 * Starts at once, or at `start` if that is later than `now` (both clock_now_ms()), and gives up
 * `timeout_ms` after that.
 */
void punch_start(struct punch *punch, const struct addr *remote, punch_opener *open, void *context,
	uint64_t start, uint64_t timeout_ms, uint64_t now);

/* To poll for writability; -1 while there is nothing to poll. */
int punch_fd(const struct punch *punch);

/* After an event on the descriptor (`happened`), or when `due` has come. */
void punch_advance(struct punch *punch, bool happened, uint64_t now);

/* PUNCH_OPEN: hands out the connected socket, the caller's from now on. Leaves PUNCH_NONE. */
int punch_take(struct punch *punch);

/* Closes what is open; leaves PUNCH_NONE. */
void punch_end(struct punch *punch);

#endif
