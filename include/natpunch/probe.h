/*
 * probe.h - a mapping from the first reflector that gives one.
 *
 * Reflectors are asked in the order given, and each one's addresses in the order of the resolver;
 * the next is started when the last one failed, or when nothing has been heard for
 * PROBE_STAGGER_MS (the connection attempt delay of RFC 8305 section 5). All that were started go
 * on; the first answer wins and the others are given up. So a dead reflector costs a quarter of a
 * second, and no reflector that answers is ever passed over.
 */
#ifndef NATPUNCH_PROBE_H
#define NATPUNCH_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/borrow.h"
#include "natpunch/error.h"
#include "natpunch/mapping.h"
#include "natpunch/parse.h"
#include "natpunch/transaction.h"

#define PROBE_STAGGER_MS    250
#define PROBE_REFLECTOR_MAX 16
#define PROBE_ATTEMPT_MAX   32 /* questions under way at once; more wait until one ends */

struct probe_request {
	struct parse_host_port reflectors[PROBE_REFLECTOR_MAX];
	size_t reflector_count;
	enum mapping_protocol protocol;
	struct addr local;                  /* port; ip or ADDR_NONE for any */
	enum addr_family family;            /* of the reflectors; ADDR_NONE: both */
	const char *interface;              /* or NULL */
	const struct borrow_method *method; /* or NULL: the first that can */
	uint64_t timeout_ms;
};

struct probe_result {
	struct mapping mapping;
	bool no_nat;               /* the public address is one of this machine's own */
	struct transaction winner; /* still open: probe_finish() */
};

/*
 * Runs until there is a mapping, all have failed, or the time is up. Returns 0, or -1 with *error
 * filled: the most telling of the failures, in the order PEER, NETWORK, LOCAL; a failure that no
 * other reflector would mend (BORROW_CANNOT) ends the run at once. Nothing is left open then.
 */
int probe_run(
	const struct probe_request *request, struct probe_result *result, struct error *error);

/* Ends the winning connection as transaction_end() says. */
void probe_finish(struct probe_result *result);

#endif
