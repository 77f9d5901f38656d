/*
 * home_facts.h - what home knows of itself and of its NAT, beside the mapping: it is the same for
 * each of its registrations (name_messages.h), whichever reflector they are at.
 */
#ifndef NATPUNCH_CLIENT_HOME_FACTS_H
#define NATPUNCH_CLIENT_HOME_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/proto/name_messages.h"

struct home_facts {
	uint8_t home[NAME_MESSAGE_HOME_SIZE]; /* by which a reflector tells it from other homes */
	bool random_ports;                    /* what port its NAT takes next cannot be predicted */
	struct addr proved; /* strangers get in there, which is not the mapping; or ADDR_NONE */
	unsigned rivals;    /* of its registrations: how many see another home of that name */
};

/* Another home than all others, of which nothing is known. */
void home_facts_init(struct home_facts *facts);

/* A REGISTER of `seen`, the mapping as that reflector sees it, with all that holds for it. */
void home_facts_register(const struct home_facts *facts, const struct key *key,
	const struct mapping *seen, struct name_question *question);

/* Has something become known that this REGISTER of `seen` did not say? */
bool home_facts_are_news(const struct home_facts *facts, const struct mapping *seen,
	const struct name_question *told);

#endif
