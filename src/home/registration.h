/*
 * registration.h - a name that stays registered for as long as a mapping is kept.
 *
 * Each held connection (held.h) has one, and registers over itself; registration.c says when.
 */
#ifndef NATPUNCH_HOME_REGISTRATION_H
#define NATPUNCH_HOME_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/invitation.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/client/home_facts.h"
#include "natpunch/client/name_client.h"
#include "natpunch/client/binding_client.h"

/* Also where a held connection shows life: for another probe may have taken the name meanwhile. */
#define REGISTRATION_REFRESH_MS    60000
#define REGISTRATION_PROMISE_UDP_S 150 /* over UDP: how long the reflector takes us for held */
#define REGISTRATION_ANSWER_MS     5000
#define REGISTRATION_RETRY_MS      60000

struct registration {
	const struct key *key;       /* NULL: there is no name to keep, and nothing is done */
	struct home_facts *facts;    /* the home's, of which this is one registration */
	struct binding_client *over; /* NULL: nothing is held right now */
	struct mapping mapping;
	struct name_client client;
	bool asking;
	bool warned;
	bool registered; /* the reflector has said so, and no other word came since */
	bool rival;      /* another home of that name was seen there */
	bool beside;     /* the owner's to set: one of several, so warnings name the reflector */
	struct invitation expected; /* what an invitation must be to be taken */
	uint64_t due;               /* the next registration, or the end of waiting for an answer */
};

/* Both must outlive it. The facts may change at any time: what is news is registered at once. */
void registration_init(
	struct registration *registration, const struct key *key, struct home_facts *facts);

/* It is not registered any more where it was. */
void registration_part(struct registration *registration);

/* There is no connection to that reflector, for this reason: said as a refusal is. */
void registration_miss(
	struct registration *registration, const char *reflector, const char *problem);

/*
 * There is a mapping, over a Binding client that is ANSWERED and stays until registration_stop().
 * What was registered before is left.
 */
void registration_start(struct registration *registration, struct binding_client *over,
	const struct mapping *mapping, uint64_t now);

/* The key is another one now: begins anew with it, where something holds the mapping. */
void registration_renew(struct registration *registration, uint64_t now);

/* What holds the mapping is gone. */
void registration_stop(struct registration *registration);

/* A response that came over it and is not to its question. */
void registration_take_response(
	struct registration *registration, const void *data, size_t size, uint64_t now);

/*
 * Is this message an invitation for the name, from who knows its key, and new? Then *out says where
 * somebody waits for us.
 */
bool registration_take_invitation(
	struct registration *registration, const void *data, size_t size, struct invitation *out);

/*
 * Tells an initiator what port our next connection will have, over the connection that holds the
 * mapping; says nothing when there is none. Whether it arrives is the initiator's affair.
 */
void registration_predict(const struct registration *registration,
	const struct invitation_asker *asker, const struct port_prediction *prediction);

/* Is the name registered over a connection, and does our NAT change the port? */
bool registration_wants_look(const struct registration *registration);

/* When registration_expire() wants to be called, or TIMER_NONE. */
uint64_t registration_next(const struct registration *registration);
void registration_expire(struct registration *registration, uint64_t now);

#endif
