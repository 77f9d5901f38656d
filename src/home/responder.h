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
#include "home/standby.h"
#include "natpunch/client/port_sampler.h"

#define RESPONDER_PUNCH_MAX 64
#define RESPONDER_RELAY_MAX 8
#define RESPONDER_WAIT_MAX  8 /* initiators that wait for our prediction */
#define RESPONDER_WATCH_MAX                                                                        \
	(2 * RESPONDER_PUNCH_MAX + RESPONDER_RELAY_MAX * RELAY_CLIENT_WATCH_MAX +                  \
		PORT_SAMPLER_WATCH_MAX)

/* From where home connects to initiators. */
struct responder_path {
	struct addr local;                  /* with the kept port */
	const struct borrow_method *method; /* holds the mapping; NULL: any that works */
	struct relay_client_path relay;
	struct addr other;             /* OTHER-ADDRESS of relay.reflector, or ADDR_NONE */
	const struct standby *standby; /* knows home's other reflectors; or NULL */
	/* Got the invitation, and sends our prediction. It must stay where it is. */
	const struct registration *registration;
};

struct responder_waiting {
	struct invitation invitation;
	const struct registration *registration; /* of the path by which it came */
};

struct responder {
	struct handover *handover; /* the caller's; gets each connection that is open */
	struct responder_path path;
	struct rate_limit syns; /* that leave the kept port, by destination */
	uint64_t now;           /* as the caller gave it last */
	bool warned;            /* of an address that no initiator can have */
	struct punch punches[RESPONDER_PUNCH_MAX];
	struct punch company[RESPONDER_PUNCH_MAX]; /* at each index, that of the punch there */
	struct relay_client relays[RESPONDER_RELAY_MAX];
	struct port_sampler sampler;
	struct responder_waiting waiting[RESPONDER_WAIT_MAX];
	size_t waiting_count;
	bool looked; /* there is a result for responder_take_look(): */
	bool random_ports;
};

/* Can an initiator on another machine have this address, as the reflector sees it? */
bool responder_is_possible(const struct addr *addr, const struct addr *reflector);

void responder_init(struct responder *responder, struct handover *handover);

/*
 * Takes a genuine invitation, unless no initiator can be at its address. From now on all connect by
 * this path, except that each prediction goes by the registration that got its invitation.
 */
void responder_meet(struct responder *responder, const struct responder_path *path,
	const struct invitation *invitation, uint64_t now);

/* Has the sampler find out how our NAT allocates ports, by this path, which all use from now on. */
void responder_look(struct responder *responder, const struct responder_path *path, uint64_t now);

/* Returns, once, whether the sampler has a result: do our NAT's ports look random? */
bool responder_take_look(struct responder *responder, bool *random_ports);

/* Fills all entries for poll(2); returns when responder_advance() wants to be called. */
uint64_t responder_watch(const struct responder *responder, struct pollfd fds[RESPONDER_WATCH_MAX]);

/* Goes on with what poll(2) found. */
void responder_advance(
	struct responder *responder, const struct pollfd fds[RESPONDER_WATCH_MAX], uint64_t now);

/* Ends all that is under way. */
void responder_end(struct responder *responder);

#endif
