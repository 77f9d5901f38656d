/*
 * udp_punch.h - both ways between two UDP ports, through the NATs of both: datagrams that are sent
 * from a borrowed port until the other side answers them (udp_check.h). Both sides run the same.
 *
 * A state machine that is handed events and the time, and never blocks; udp_punch.c says how it
 * goes on. Whoever has the port goes on using it; afterwards the port is as it was, and the NATs
 * have a mapping each, for as long as they keep one that is used.
 */
#ifndef NATPUNCH_CLIENT_UDP_PUNCH_H
#define NATPUNCH_CLIENT_UDP_PUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/proto/udp_check.h"

#define UDP_PUNCH_TIMEOUT_MS 3000 /* without another word from the other side, or the reflector */

enum udp_punch_state {
	UDP_PUNCH_NONE,    /* nothing is open */
	UDP_PUNCH_TRYING,  /* our check is not answered yet */
	UDP_PUNCH_THROUGH, /* it is: both ways are open. The other side may not know yet */
	UDP_PUNCH_DONE,    /* the other side knows, too */
	UDP_PUNCH_FAILED,  /* `deadline` came first; nothing is open */
};

struct udp_punch_config {
	enum udp_check_role role;
	const uint8_t *secret;              /* of the name; the caller's, must outlive the punch */
	const struct borrow_method *method; /* NULL: the first that can */
	struct addr local;                  /* the port, and the address if it matters */
	struct addr remote;                 /* the other side's mapping */
	const char *interface;              /* or NULL */
	bool one_port; /* by bind somebody else here has what comes from other ports */
	/* May one check be sent now? NULL: as often as the punch likes. */
	bool (*may_send)(void *context, const struct addr *remote, uint64_t now);
	void *context;
};

struct udp_punch {
	enum udp_punch_state state;
	struct udp_punch_config config;
	struct borrowed port;
	struct addr
		remote; /* where the other side is: config.remote, or another port that it has */
	uint8_t transaction[STUN_TRANSACTION_SIZE]; /* of our check, the same one each time */
	unsigned sent;
	unsigned heard;    /* valid messages of the other side */
	uint64_t due;      /* when udp_punch_advance() wants to be called; TIMER_NONE */
	uint64_t deadline; /* the caller may put it off */
};

/*
 * Opens the port and sends the first check. Returns 0, or -1 with *error filled: state NONE. What
 * the port may be had by, in this order: the initiator, whose daemon may not run yet, by bind, raw
 * and rewrite; home by raw and rewrite.
 */
int udp_punch_start(struct udp_punch *punch, const struct udp_punch_config *config,
	uint64_t deadline, uint64_t now, struct error *error);

/* To poll for input, or -1. */
int udp_punch_fd(const struct udp_punch *punch);

/* Takes what has come, sends what is due. */
void udp_punch_advance(struct udp_punch *punch, uint64_t now);

/*
 * Ends it; twice is once. If it is THROUGH, the other side is told so, as far as two datagrams
 * can.
 */
void udp_punch_end(struct udp_punch *punch);

#endif
