/*
 * udp_punch.h - opens both ways between two UDP ports, through the NATs of both: sends checks from
 * a borrowed port until the other side answers them (udp_check.h). Both sides run the same.
 *
 * A state machine that takes events and the time; udp_punch.c has its states. Never blocks. The
 * daemon that has the port goes on using it. Afterwards the port is as it was, and each NAT has a
 * mapping, for as long as it keeps one that is used.
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

#define UDP_PUNCH_TIMEOUT_MS 3000 /* without a message of the other side, or the reflector */

enum udp_punch_state {
	UDP_PUNCH_NONE,    /* nothing is open */
	UDP_PUNCH_TRYING,  /* our check is not answered yet */
	UDP_PUNCH_THROUGH, /* it is: both ways are open; the other side may not know yet */
	UDP_PUNCH_DONE,    /* the other side knows, too */
	UDP_PUNCH_FAILED,  /* `deadline` came first; nothing is open */
};

struct udp_punch_config {
	enum udp_check_role role;
	const uint8_t *secret;              /* of the name; the caller's, must outlive the punch */
	const struct borrow_method *method; /* NULL: the first that works */
	struct addr local;                  /* the port, and the address if it matters */
	struct addr remote;                 /* the other side's mapping */
	const char *interface;              /* or NULL */
	bool one_port; /* by bind, another punch takes what comes from other ports */
	/* May a check be sent now? NULL: always. */
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
	uint64_t due;      /* when to call udp_punch_advance(), or TIMER_NONE */
	uint64_t deadline; /* the caller may put it off */
};

/*
 * Opens the port and sends the first check. Returns 0, or -1 with *error filled: state NONE.
 * Without a method in *config, the first that works is used: bind, raw and rewrite at the laptop,
 * whose daemon may not run yet; raw and rewrite at home.
 */
int udp_punch_start(struct udp_punch *punch, const struct udp_punch_config *config,
	uint64_t deadline, uint64_t now, struct error *error);

/* What to poll for input, or -1. */
int udp_punch_fd(const struct udp_punch *punch);

/* Reads what has come, and sends what is due. */
void udp_punch_advance(struct udp_punch *punch, uint64_t now);

/*
 * Closes the port; may be called twice. A punch that is THROUGH sends two datagrams before that
 * tell the other side so.
 */
void udp_punch_end(struct udp_punch *punch);

#endif
