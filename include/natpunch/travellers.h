/*
 * travellers.h - home's side of those who come by an invitation: each is met half way (punch.h) or
 * at the relay (relay_join.h), and who is through goes to the hand-over. Who comes with a forecast
 * (forecast.h) is told ours first: it is looked what port comes next (sights.h), for all who wait
 * at once, as there is but one kept port.
 *
 * Tables of fixed size; rule for more: the newcomer is passed over, with a warning. A traveller
 * that is being met already is not met twice. It never blocks.
 */
#ifndef NATPUNCH_TRAVELLERS_H
#define NATPUNCH_TRAVELLERS_H

#include <poll.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/borrow.h"
#include "natpunch/handover.h"
#include "natpunch/invitation.h"
#include "natpunch/name_keeper.h"
#include "natpunch/punch.h"
#include "natpunch/relay_join.h"
#include "natpunch/sights.h"

#define TRAVELLERS_PUNCH_MAX 64
#define TRAVELLERS_JOIN_MAX  8
#define TRAVELLERS_WAIT_MAX  8 /* for a forecast of ours */
#define TRAVELLERS_WATCH_MAX (TRAVELLERS_PUNCH_MAX + TRAVELLERS_JOIN_MAX + SIGHTS_WATCH_MAX)

/* From where they are met. */
struct travellers_path {
	struct addr local;                  /* with the port whose mapping is kept */
	const struct borrow_method *method; /* what holds that mapping; NULL: whichever works */
	struct relay_join_path relay;
	struct addr other; /* OTHER-ADDRESS of relay.reflector, or ADDR_NONE */
};

struct travellers {
	struct handover *handover; /* the caller's; gets the connections */
	struct name_keeper *name;  /* the caller's; tells travellers our forecast */
	struct travellers_path path;
	struct punch punches[TRAVELLERS_PUNCH_MAX];
	struct relay_join joins[TRAVELLERS_JOIN_MAX];
	struct sights sights;
	struct invitation waiting[TRAVELLERS_WAIT_MAX];
	size_t waiting_count;
};

void travellers_init(
	struct travellers *travellers, struct handover *handover, struct name_keeper *name);

/* Follows an invitation that was found to be genuine. The path counts for all from now on. */
void travellers_meet(struct travellers *travellers, const struct travellers_path *path,
	const struct invitation *invitation, uint64_t now);

/* Fills all entries for poll(2); returns when travellers_advance() wants to be called. */
uint64_t travellers_watch(
	const struct travellers *travellers, struct pollfd fds[TRAVELLERS_WATCH_MAX]);

/* Goes on with what poll(2) found. */
void travellers_advance(
	struct travellers *travellers, const struct pollfd fds[TRAVELLERS_WATCH_MAX], uint64_t now);

/* Gives up all that are not through yet. */
void travellers_end(struct travellers *travellers);

#endif
