/*
 * invitations.h - gives each invitation to the responder of its protocol, and finds out what the
 * registrations tell initiators of home (home_facts.h).
 *
 * It never blocks. States, events and timers are those of responder.c and udp_responder.c.
 */
#ifndef NATPUNCH_HOME_INVITATIONS_H
#define NATPUNCH_HOME_INVITATIONS_H

#include <poll.h>
#include <stdint.h>

#include "home/held.h"
#include "home/responder.h"
#include "home/udp_responder.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/home_facts.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/home/handover.h"
#include "natpunch/proto/invitation.h"

#define INVITATIONS_WATCH_MAX (RESPONDER_WATCH_MAX + UDP_RESPONDER_MAX)

struct invitations {
	const struct mapping_race_request *probe;   /* the request of the user */
	const struct mapping_race_request *request; /* how the held connection was asked for */
	const struct key *key;                      /* of the name, or NULL: no invitation comes */
	const struct standby *standby; /* knows home's reflectors; NULL until the owner sets it */
	struct responder responder;
	struct udp_responder udp_responder;
	struct home_facts facts; /* of all registrations of home's */
	struct mapping looked;   /* the mapping that facts.random_ports is of */
};

/* All that the arguments point to must outlive it; the handover gets the connections. */
void invitations_init(struct invitations *invitations, const struct mapping_race_request *probe,
	const struct mapping_race_request *request, const struct key *key,
	struct handover *handover);

/* Takes a genuine invitation, which came over this held connection. */
void invitations_take(struct invitations *invitations, const struct held *over,
	const struct invitation *invitation, uint64_t now);

/* A connection is held now: warns, once, if no invitation can be heard by its method. */
void invitations_check_method(struct invitations *invitations, const struct held *held);

/*
 * Brings the facts up to date: finds out, once for each held mapping whose port a NAT changes,
 * whether the NAT's ports can be predicted.
 */
void invitations_look(struct invitations *invitations, const struct held *held, uint64_t now);

/*
 * Strangers get in by `proved`. If that is another port than the held mapping's, the facts say so:
 * a look-up must return that one.
 */
void invitations_note_proved(
	struct invitations *invitations, const struct held *held, const struct mapping *proved);

/* Fills all entries for poll(2); returns when invitations_advance() wants to be called. */
uint64_t invitations_watch(
	const struct invitations *invitations, struct pollfd fds[INVITATIONS_WATCH_MAX]);

/* Goes on with what poll(2) found, and with the time. */
void invitations_advance(struct invitations *invitations,
	const struct pollfd fds[INVITATIONS_WATCH_MAX], uint64_t now);

/* Ends all that is under way. */
void invitations_end(struct invitations *invitations);

#endif
