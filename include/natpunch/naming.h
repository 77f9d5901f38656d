/*
 * naming.h - a question about a name (rendezvous.h), asked over a port that is open to a reflector.
 *
 * A state machine that is handed messages and the time. Over UDP a request is sent again as
 * RFC 8489 6.2.1 says, and what comes and is no answer is passed over.
 */
#ifndef NATPUNCH_NAMING_H
#define NATPUNCH_NAMING_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/borrow.h"
#include "natpunch/error.h"
#include "natpunch/probe.h"
#include "natpunch/rendezvous.h"

#define NAMING_RTO_MS 500 /* RFC 8489 6.2.1 */

enum naming_state {
	NAMING_ASKING,
	NAMING_DONE,   /* rendezvous.records, rendezvous.granted */
	NAMING_FAILED, /* error */
};

struct naming {
	enum naming_state state;
	struct borrowed *port; /* the caller's: a stream or datagrams */
	const char *reflector; /* how it is called in errors; the caller's */
	struct rendezvous rendezvous;
	uint8_t request[STUN_MESSAGE_MAX];
	size_t request_size;
	uint64_t due; /* when naming_expire() wants to be called; DEADLINE_NONE over a stream */
	uint64_t rto;
	struct error error; /* when FAILED; over UDP also the last thing that was passed over */
};

/*
 * Sends the first request. `rendezvous` was begun by rendezvous_start() and is copied; its key must
 * outlive this. The state may already be FAILED.
 */
void naming_start(struct naming *naming, struct borrowed *port, const char *reflector,
	const struct rendezvous *rendezvous, uint64_t now);

/* Judges one whole message that came over the port, and may send the next request. */
void naming_take(struct naming *naming, const void *data, size_t size, uint64_t now);

/* Sends again what is due. */
void naming_expire(struct naming *naming, uint64_t now);

/* Reads the port itself until there is a result or `deadline`. Returns 0, or -1 with *error. */
int naming_run(struct naming *naming, uint64_t deadline, struct error *error);

/*
 * Registers the mapping that a probe found, over the connection or port that it was found with; for
 * method raw, which has none, over a connection of its own to the same reflector, and by number.
 * The connection then goes on as `mode` says (result->winner.answer.mode is what was granted), also
 * when the registration failed. Returns 0, or -1 with *error filled. `registered` is where the
 * reflector saw home.
 */
int naming_register(const struct probe_request *request, struct probe_result *result,
	const struct key *key, enum binding_mode mode, uint64_t deadline,
	struct rendezvous_record *registered, struct error *error);

#endif
