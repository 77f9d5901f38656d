/*
 * lifetime_search.h - finds out how long a mapping lives in silence (lifetime.h).
 *
 * The mappings are those of ports that the kernel chooses, so that the mapping of the port in
 * question is left alone. So the search does not notice a NAT that treats ports differently. The
 * packet from outside is:
 *
 *   TCP  the reflector's FIN. Each connection asks the reflector to close it after a silence of its
 *        own (BINDING_MODE_WAIT, binding.h). For the NAT it is an established connection that is
 *        idle, like the one that both ends of a probe forget. Any natpunch reflector can do it.
 *   UDP  an answer to a question that another port asked, with RESPONSE-PORT (RFC 5780 7.5). The
 *        mapping has seen one question and one answer before, as after a probe. Any server that
 *        knows the attribute can do it.
 *
 * Threat: a reflector that lies can make the lifetime seem longer or shorter. It cannot make its
 * part of the search longer than the bound and LIFETIME_SEARCH_EXTRA_MS.
 */
#ifndef NATPUNCH_CHECK_LIFETIME_SEARCH_H
#define NATPUNCH_CHECK_LIFETIME_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/client/mapping_race.h"

/* Beyond the bound: for the mappings to be made, and for the last packet to arrive. */
#define LIFETIME_SEARCH_EXTRA_MS 7000

struct lifetime_progress {
	uint32_t elapsed; /* seconds */
	uint16_t bound;
	uint16_t least; /* as in lifetime_bounds, so far */
};

struct lifetime_request {
	const struct mapping_race_request *probe; /* protocol, reflectors, interface */
	struct addr asked; /* a reflector that has answered: it is asked first, */
	size_t reflector;  /* and not again as this one of `probe`, whose others follow */
	uint16_t bound;    /* seconds; LIFETIME_BOUND_MIN to _MAX */
	int stop;          /* a descriptor; once it is readable, the search ends. -1: none */
	void (*progress)(void *context, const struct lifetime_progress *progress); /* or NULL */
	void *context;
};

/* Blocks. Fills in *out: the lifetime with its evidence, or why it cannot be told. */
void lifetime_search(const struct lifetime_request *request, struct nat_lifetime *out);

#endif
