/*
 * name_keeper.h - a name that stays registered for as long as a mapping is kept.
 *
 * It asks over the connection (or UDP port) that holds the mapping: at once when there is a new
 * one, again now and then, as a reflector may have lost its memory, and later when it was refused.
 */
#ifndef NATPUNCH_NAME_KEEPER_H
#define NATPUNCH_NAME_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/invitation.h"
#include "natpunch/keyfile.h"
#include "natpunch/mapping.h"
#include "natpunch/naming.h"
#include "natpunch/transaction.h"

/* Also where a held connection shows life: for another probe may have taken the name meanwhile. */
#define NAME_KEEPER_REFRESH_MS    60000
#define NAME_KEEPER_PROMISE_UDP_S 150 /* over UDP: how long the reflector takes us for held */
#define NAME_KEEPER_ANSWER_MS     5000
#define NAME_KEEPER_RETRY_MS      60000

struct name_keeper {
	const struct key *key;    /* NULL: there is no name to keep, and nothing is done */
	struct transaction *over; /* NULL: nothing is held right now */
	struct mapping mapping;
	struct naming naming;
	bool asking;
	bool warned;
	struct invitation expected; /* what an invitation must be to be taken */
	uint64_t due;               /* the next registration, or the end of waiting for an answer */
};

void name_keeper_init(struct name_keeper *keeper, const struct key *key);

/* There is a mapping, over a transaction that is ANSWERED and outlives this until _lose(). */
void name_keeper_hold(struct name_keeper *keeper, struct transaction *over,
	const struct mapping *mapping, uint64_t now);

/* What holds the mapping is gone. */
void name_keeper_lose(struct name_keeper *keeper);

/* A response that came over the transaction and is not to its question. */
void name_keeper_take(struct name_keeper *keeper, const void *data, size_t size, uint64_t now);

/*
 * Is this message an invitation for the name, from who knows its key, and new? Then *out says where
 * somebody waits for us.
 */
bool name_keeper_take_invitation(
	struct name_keeper *keeper, const void *data, size_t size, struct invitation *out);

/*
 * Tells a traveller what port our next connection will have, over the connection that holds the
 * mapping; says nothing when there is none. Whether it arrives is the traveller's affair.
 */
void name_keeper_foretell(const struct name_keeper *keeper, const struct invitation_asker *asker,
	const struct forecast *forecast);

/* When name_keeper_expire() wants to be called, or DEADLINE_NONE. */
uint64_t name_keeper_next(const struct name_keeper *keeper);
void name_keeper_expire(struct name_keeper *keeper, uint64_t now);

#endif
