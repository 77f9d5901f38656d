/*
 * alternate.h - the four addresses and ports that a reflector with a second address answers from.
 *
 * RFC 5780 needs two addresses and two ports of one server. The main address and port are those of
 * the first full listener of the family; if that listens on every address, the main address is the
 * one that a client asks. The other port is the next one up. A listener on every address needs one
 * more at the other port, since an answer can leave from any address of the machine; a listener on
 * a single address needs three more.
 */
#ifndef NATPUNCH_REFLECTOR_ALTERNATE_H
#define NATPUNCH_REFLECTOR_ALTERNATE_H

#include <stdbool.h>
#include <stddef.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"
#include "natpunch/base/error.h"
#include "natpunch/reflector/config.h"

#define ALTERNATE_EXTRA 3 /* most listeners that one alternate address takes */

struct alternate {
	struct addr main;      /* its port is the main one; ADDR_NONE: not served */
	struct addr alternate; /* its port is the other one */
	bool wildcard;         /* the sockets are bound to every address */
	int datagrams[2][2];   /* UDP sockets, [at the alternate address][at the other port] */
};

/*
 * Finds out the four for config->alternates[index], which must be there, and the listeners that
 * are missing for them in config->listen. Returns how many those are, or -1 with *error filled:
 * no listener of that family, not an address of this machine, none beside it.
 */
int alternate_plan(struct alternate *alternate, const struct reflector_config *config, size_t index,
	struct reflector_listen extra[ALTERNATE_EXTRA], struct error *error);

/* Takes the UDP socket of a listener, if it is one of the four's. It stays the caller's. */
void alternate_adopt(struct alternate *alternate, const struct addr *bound, int fd);

/*
 * The four as seen from `to`, the address and port that a request came to. False when RFC 5780
 * is not served there: another port or another family.
 */
bool alternate_around(
	const struct alternate *alternate, const struct addr *to, struct binding_places *out);

/* The other IP address than the one that was asked, port 0. False when there is none. */
bool alternate_other_ip(
	const struct alternate *alternate, const struct addr *asked, struct addr *out);

/* The UDP socket that sends from `from`, one of the four, or -1. */
int alternate_socket(const struct alternate *alternate, const struct addr *from);

#endif
