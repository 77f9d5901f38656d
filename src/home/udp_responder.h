/*
 * udp_responder.h - home's side of a session over UDP: it answers an initiator's invitation by
 * datagrams from the kept port, until both have the way open (udp_punch.h). What then goes over it
 * is between the daemons.
 *
 * udp_responder.c lists what happens when. It never blocks.
 */
#ifndef NATPUNCH_HOME_UDP_RESPONDER_H
#define NATPUNCH_HOME_UDP_RESPONDER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/client/udp_punch.h"

#define UDP_RESPONDER_MAX 8

/* From where initiators are met. */
struct udp_responder_path {
	struct addr local;                  /* with the port whose mapping is kept */
	struct addr reflector;              /* who invites */
	const struct borrow_method *method; /* as asked for; NULL: whichever works */
	const char *interface;              /* or NULL */
	bool one_port;                      /* as udp_punch_config has it */
	const struct key *key;              /* of the name; must outlive what is met */
};

struct udp_responder {
	struct rate_limit checks; /* that leave the kept port, by where they go to */
	bool warned;              /* of an address that no initiator can have, */
	bool warned_deaf;         /* that none is heard of, */
	bool warned_local;        /* and that this machine refuses */
	struct udp_punch punches[UDP_RESPONDER_MAX];
};

void udp_responder_init(struct udp_responder *responder);

/* Follows an invitation that was found to be genuine: `initiator` waits for us there. */
void udp_responder_meet(struct udp_responder *responder, const struct udp_responder_path *path,
	const struct addr *initiator, uint64_t now);

/* What holds the mapping leaves the port in between, so no invitation is heard: says so, once. */
void udp_responder_warn_deaf(struct udp_responder *responder);

/* Fills all entries for poll(2); returns when udp_responder_advance() wants to be called. */
uint64_t udp_responder_watch(
	const struct udp_responder *responder, struct pollfd fds[UDP_RESPONDER_MAX]);

/* Goes on with what has come, and with the time. */
void udp_responder_advance(struct udp_responder *responder, uint64_t now);

/* Gives up all. */
void udp_responder_end(struct udp_responder *responder);

#endif
