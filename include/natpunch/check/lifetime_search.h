/*
 * lifetime_search.h - finds out how long a mapping lives in silence (lifetime.h).
 *
 * From ports that the kernel chooses, so that the mapping of the port in question is left alone;
 * a NAT that treats ports differently is not found out. What is sent from outside:
 *
 *   TCP  the reflector's FIN: each connection asks it to close after a time of silence of its own
 *        (BINDING_MODE_WAIT, binding.h). To the NAT it is an established connection that is idle,
 *        as the one is that both ends of a probe forget. Any natpunch reflector does that.
 *   UDP  an answer to a question that another port asks, with RESPONSE-PORT (RFC 5780 7.5). The
 *        mapping has seen one question and one answer before, as after a probe. Any server with
 *        that attribute does.
 *
 * Threat: a reflector that lies can make a lifetime longer or shorter. It cannot make the search
 * longer than its bound and LIFETIME_SEARCH_EXTRA_MS, for each that is asked.
 */
#ifndef NATPUNCH_CHECK_LIFETIME_SEARCH_H
#define NATPUNCH_CHECK_LIFETIME_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/check/nat_report.h"
#include "natpunch/client/mapping_race.h"

/* To begin with, and for what is sent at the end to arrive. */
#define LIFETIME_SEARCH_EXTRA_MS 7000

struct lifetime_progress {
	uint32_t elapsed; /* seconds */
	uint16_t bound;
	uint16_t least; /* so far */
};

struct lifetime_request {
	const struct mapping_race_request *probe; /* protocol, reflectors, interface */
	struct addr asked; /* a reflector that has answered: the first that is asked; the others */
	size_t reflector;  /* of `probe` follow, but for this one */
	uint16_t bound;    /* seconds; LIFETIME_BOUND_MIN to _MAX */
	int stop;          /* a descriptor; once it is readable, the search ends. -1: none */
	void (*progress)(void *context, const struct lifetime_progress *progress); /* or NULL */
	void *context;
};

/* Blocks. What is found is filled in, with its evidence or why there is none. */
void lifetime_search(const struct lifetime_request *request, struct nat_lifetime *out);

#endif
