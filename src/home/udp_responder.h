/*
 * udp_responder.h - home's side of a session over UDP: it answers an initiator's invitation by
 * datagrams from the kept port, until both NATs let the other side's in (udp_punch.h). The
 * datagrams of the session itself are the daemons'.
 *
 * udp_responder.c lists what happens when. It never blocks.
 */
#ifndef NATPUNCH_HOME_UDP_RESPONDER_H
#define NATPUNCH_HOME_UDP_RESPONDER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "home/standby.h"
#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/base/rate_limit.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/client/udp_punch.h"

#define UDP_RESPONDER_MAX 8

/* From where home sends to initiators. */
struct udp_responder_path {
	struct addr local;                  /* with the kept port */
	struct addr reflector;              /* the one by which the invitation came */
	const struct standby *standby;      /* knows home's other reflectors; or NULL */
	const struct borrow_method *method; /* the one that the user chose; NULL: any that works */
	const char *interface;              /* or NULL */
	bool one_port;                      /* as in udp_punch_config */
	const struct key *key;              /* of the name; must outlive all punches */
};

struct udp_responder {
	struct rate_limit checks; /* that leave the kept port, by destination */
	bool warned;              /* of an address that no initiator can have, */
	bool warned_deaf;         /* that no invitation can be heard, */
	bool warned_local;        /* and that this machine refuses to send */
	struct udp_punch punches[UDP_RESPONDER_MAX];
};

void udp_responder_init(struct udp_responder *responder);

/* Takes a genuine invitation: `initiator` waits for our datagrams at that address. */
void udp_responder_meet(struct udp_responder *responder, const struct udp_responder_path *path,
	const struct addr *initiator, uint64_t now);

/*
 * The held port is open only while a keep-alive is under way, so no invitation can be heard: warns
 * of it, once.
 */
void udp_responder_warn_deaf(struct udp_responder *responder);

/* Fills all entries for poll(2); returns when udp_responder_advance() wants to be called. */
uint64_t udp_responder_watch(
	const struct udp_responder *responder, struct pollfd fds[UDP_RESPONDER_MAX]);

/* Goes on with the datagrams that have come, and with the time. */
void udp_responder_advance(struct udp_responder *responder, uint64_t now);

/* Ends all punches. */
void udp_responder_end(struct udp_responder *responder);

#endif
