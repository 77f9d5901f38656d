/*
 * name_client.h - a question about a name (name_messages.h), asked over a port that is open to a
 * reflector.
 *
 * A state machine that takes messages and the time. Over UDP a request is sent again as RFC 8489
 * 6.2.1 says, and datagrams that are no answer are ignored.
 */
#ifndef NATPUNCH_CLIENT_NAME_CLIENT_H
#define NATPUNCH_CLIENT_NAME_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/borrow/borrow.h"
#include "natpunch/base/error.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/proto/name_messages.h"

#define NAME_CLIENT_RTO_MS 500 /* RFC 8489 6.2.1 */

enum name_client_state {
	NAME_CLIENT_ASKING,
	NAME_CLIENT_DONE,   /* question.records, question.granted */
	NAME_CLIENT_FAILED, /* error */
};

struct name_client {
	enum name_client_state state;
	struct borrowed *port; /* the caller's: a stream or datagrams */
	const char *reflector; /* how it is called in errors; the caller's */
	struct name_question question;
	uint8_t request[STUN_MESSAGE_MAX];
	size_t request_size;
	uint64_t due; /* when name_client_expire() wants to be called; TIMER_NONE over a stream */
	uint64_t rto;
	bool refused;       /* with NAME_CLIENT_FAILED: the key is not the one of the name */
	struct error error; /* when FAILED; over UDP also the last thing that was passed over */
};

/*
 * Sends the first request. `question` was begun by name_message_start() and is copied; its key must
 * outlive this. The state may already be FAILED.
 */
void name_client_start(struct name_client *client, struct borrowed *port, const char *reflector,
	const struct name_question *question, uint64_t now);

/* Judges one whole message that came over the port, and may send the next request. */
void name_client_take(struct name_client *client, const void *data, size_t size, uint64_t now);

/* Sends again what is due. */
void name_client_expire(struct name_client *client, uint64_t now);

/* Reads the port itself until there is a result or `deadline`. Returns 0, or -1 with *error. */
int name_client_run(struct name_client *client, uint64_t deadline, struct error *error);

/*
 * After a REGISTER that is DONE: is another home registered under that name too? If so logs a
 * warning, or with `again`, after an earlier warning, a detail.
 */
bool name_client_report_rival(const struct name_question *question, bool again);

/*
 * The errors for a reflector that runs without -K, or is no natpunch, and for one that refuses the
 * key. Each fills *error, with a hint, and returns -1.
 */
int name_client_set_unsupported(const char *reflector, struct error *error);
int name_client_set_refused(const char *reflector, const struct key *key, struct error *error);

#endif
