/*
 * responder.h - home's side of a session (RFC 8445's word): it answers an initiator's invitation by
 * connecting to the initiator (punch.h) or to the relay (relay_client.h), and hands the connection
 * over. An initiator that predicts its port (port_prediction.h) gets our prediction first.
 *
 * responder.c lists what happens when. It never blocks.
 */
#ifndef NATPUNCH_HOME_RESPONDER_H
#define NATPUNCH_HOME_RESPONDER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/home/handover.h"
#include "natpunch/proto/invitation.h"
#include "home/registration.h"
#include "natpunch/client/punch.h"
#include "home/relay_client.h"
#include "natpunch/client/port_sampler.h"

#define RESPONDER_PUNCH_MAX 64
#define RESPONDER_RELAY_MAX 8
#define RESPONDER_WAIT_MAX  8 /* for a prediction of ours */
#define RESPONDER_WATCH_MAX                                                                        \
	(2 * RESPONDER_PUNCH_MAX + RESPONDER_RELAY_MAX * RELAY_CLIENT_WATCH_MAX +                  \
		PORT_SAMPLER_WATCH_MAX)

/* From where initiators are connected to. */
struct responder_path {
	struct addr local;                  /* with the port whose mapping is kept */
	const struct borrow_method *method; /* what holds that mapping; NULL: whichever works */
	struct relay_client_path relay;
	struct addr other; /* OTHER-ADDRESS of relay.reflector, or ADDR_NONE */
	/* By which the invitation came; sends our prediction. It stays where it is. */
	const struct registration *registration;
};

struct responder_waiting {
	struct invitation invitation;
	const struct registration *registration; /* as in the path that it came by */
};

struct responder {
	struct handover *handover; /* the caller's; gets the connections */
	struct responder_path path;
	struct rate_limit syns; /* that leave the kept port, by where they go to */
	uint64_t now;           /* as handed in last */
	bool warned;            /* of an address that no initiator can have */
	struct punch punches[RESPONDER_PUNCH_MAX];
	struct punch company[RESPONDER_PUNCH_MAX]; /* of the punch in the same place */
	struct relay_client relays[RESPONDER_RELAY_MAX];
	struct port_sampler sampler;
	struct responder_waiting waiting[RESPONDER_WAIT_MAX];
	size_t waiting_count;
	bool looked; /* and not taken yet: */
	bool random_ports;
};

/* Can a reflector have seen somebody there who is not on this machine? */
bool responder_is_possible(const struct addr *addr, const struct addr *reflector);

void responder_init(struct responder *responder, struct handover *handover);

/*
 * Follows an invitation that was found to be genuine, unless no initiator can be where it leads to.
 * The path counts for all from now on, except for whom a prediction is told.
 */
void responder_meet(struct responder *responder, const struct responder_path *path,
	const struct invitation *invitation, uint64_t now);

/* Looks what our NAT does with ports. The path counts as above. */
void responder_look(struct responder *responder, const struct responder_path *path, uint64_t now);

/* What was seen, once; false: nothing since. */
bool responder_take_look(struct responder *responder, bool *random_ports);

/* Fills all entries for poll(2); returns when responder_advance() wants to be called. */
uint64_t responder_watch(const struct responder *responder, struct pollfd fds[RESPONDER_WATCH_MAX]);

/* Goes on with what poll(2) found. */
void responder_advance(
	struct responder *responder, const struct pollfd fds[RESPONDER_WATCH_MAX], uint64_t now);

/* Gives up all that are not open yet. */
void responder_end(struct responder *responder);

#endif
