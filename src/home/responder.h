/*
 * responder.h - home's side of those who come by an invitation: each is met half way (punch.h) or
 * at the relay (relay_client.h), and who is through goes to the hand-over. Who comes with a
 * prediction (port_prediction.h) is told ours first: it is looked what port comes next
 * (port_sampler.h), for all who wait at once, as there is but one kept port.
 *
 * Tables of fixed size; rule for more: the newcomer is passed over, with a warning. An initiator
 * that is being met already is not met twice. It never blocks.
 */
#ifndef NATPUNCH_HOME_RESPONDER_H
#define NATPUNCH_HOME_RESPONDER_H

#include <poll.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/home/handover.h"
#include "natpunch/proto/invitation.h"
#include "home/registration.h"
#include "natpunch/client/punch.h"
#include "home/relay_client.h"
#include "natpunch/client/port_sampler.h"

#define RESPONDER_PUNCH_MAX 64
#define RESPONDER_JOIN_MAX  8
#define RESPONDER_WAIT_MAX  8 /* for a prediction of ours */
#define RESPONDER_WATCH_MAX (RESPONDER_PUNCH_MAX + RESPONDER_JOIN_MAX + PORT_SAMPLER_WATCH_MAX)

/* From where they are met. */
struct responder_path {
	struct addr local;                  /* with the port whose mapping is kept */
	const struct borrow_method *method; /* what holds that mapping; NULL: whichever works */
	struct relay_client_path relay;
	struct addr other; /* OTHER-ADDRESS of relay.reflector, or ADDR_NONE */
};

struct responder {
	struct handover *handover; /* the caller's; gets the connections */
	struct registration *name; /* the caller's; tells responder our prediction */
	struct responder_path path;
	struct punch punches[RESPONDER_PUNCH_MAX];
	struct relay_client joins[RESPONDER_JOIN_MAX];
	struct port_sampler sampler;
	struct invitation waiting[RESPONDER_WAIT_MAX];
	size_t waiting_count;
};

void responder_init(
	struct responder *responder, struct handover *handover, struct registration *name);

/* Follows an invitation that was found to be genuine. The path counts for all from now on. */
void responder_meet(struct responder *responder, const struct responder_path *path,
	const struct invitation *invitation, uint64_t now);

/* Fills all entries for poll(2); returns when responder_advance() wants to be called. */
uint64_t responder_watch(const struct responder *responder, struct pollfd fds[RESPONDER_WATCH_MAX]);

/* Goes on with what poll(2) found. */
void responder_advance(
	struct responder *responder, const struct pollfd fds[RESPONDER_WATCH_MAX], uint64_t now);

/* Gives up all that are not through yet. */
void responder_end(struct responder *responder);

#endif
