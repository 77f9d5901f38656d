/*
 * registration.h - keeps a name registered for as long as a mapping is kept.
 *
 * Each held connection (held.h) has one registration, which is made over it; registration.c says
 * when.
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

/* Also over a connection that is alive: another probe may have taken the name meanwhile. */
#define REGISTRATION_REFRESH_MS    60000
#define REGISTRATION_PROMISE_UDP_S 150 /* over UDP: how long the record is held */
#define REGISTRATION_ANSWER_MS     5000
#define REGISTRATION_RETRY_MS      60000

struct registration {
	const struct key *key;       /* NULL: there is no name, and nothing is done */
	struct home_facts *facts;    /* the home's, shared by all its registrations */
	struct binding_client *over; /* the held connection, or NULL */
	struct mapping mapping;
	struct name_client client;
	bool asking;
	bool warned;
	bool registered; /* the reflector's last answer was a success */
	bool rival;      /* this reflector has seen another home of that name */
	bool beside;     /* set by the owner: one of several, so warnings name the reflector */
	struct invitation expected; /* the session and number that an invitation must have */
	uint64_t due;               /* the next request, or the end of waiting for an answer */
};

/*
 * Both must outlive it. The facts may change at any time: a change that matters is registered at
 * once.
 */
void registration_init(
	struct registration *registration, const struct key *key, struct home_facts *facts);

/* The reflector is given up: takes back what this registration told the facts. */
void registration_part(struct registration *registration);

/* There is no connection to this reflector: warns of `problem` as of a refusal. */
void registration_miss(
	struct registration *registration, const char *reflector, const char *problem);

/*
 * Registers the mapping over a Binding client, which is ANSWERED and stays until
 * registration_stop(). Ends what was under way before.
 */
void registration_start(struct registration *registration, struct binding_client *over,
	const struct mapping *mapping, uint64_t now);

/* The key has changed: registers with the new one, if a connection is held. */
void registration_renew(struct registration *registration, uint64_t now);

/* The held connection is gone. */
void registration_stop(struct registration *registration);

/* Takes a response that came over the connection and is not the Binding client's. */
void registration_take_response(
	struct registration *registration, const void *data, size_t size, uint64_t now);

/*
 * Is this message a new invitation for the name, from a client that knows the key? Then *out says
 * where the initiator waits for us.
 */
bool registration_take_invitation(
	struct registration *registration, const void *data, size_t size, struct invitation *out);

/*
 * Tells an initiator, over the held connection, which port our NAT will allocate next; does nothing
 * when there is no such connection. Nothing confirms that the message arrives.
 */
void registration_predict(const struct registration *registration,
	const struct invitation_asker *asker, const struct port_prediction *prediction);

/* Is the name registered over a TCP connection, and does our NAT change the port? */
bool registration_wants_look(const struct registration *registration);

/* When registration_expire() wants to be called, or TIMER_NONE. */
uint64_t registration_next(const struct registration *registration);
void registration_expire(struct registration *registration, uint64_t now);

#endif
