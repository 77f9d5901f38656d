/*
 * reflector_session.h - asks a reflector CONNECT, and then RELAY, over one TCP connection from the
 * port that SYNs to home leave from.
 *
 * A datagram asks for the nonce of the first question while the TCP handshake is under way, which
 * saves a round trip: a nonce is for our address, and not for a port. Where no nonce comes by UDP,
 * the answer to the question brings one.
 *
 * Never blocks. Calls only what POSIX has.
 */
#ifndef NATPUNCH_CONNECT_REFLECTOR_SESSION_H
#define NATPUNCH_CONNECT_REFLECTOR_SESSION_H

#include <stdbool.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/key.h"
#include "natpunch/client/stun_stream.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/proto/port_prediction.h"

struct reflector_session {
	struct addr reflector;
	int stream;   /* a connection that the caller sets; or -1 */
	int datagram; /* for the nonce; or -1 */
	struct name_question question;
	struct stun_stream received;
	const char *what; /* of UNSENT: "cannot ask" or "cannot connect to" */
	const char *why;  /* of UNSENT, LOST and MALFORMED; until the next call */
};

enum reflector_answer {
	REFLECTOR_ANSWER_NONE,  /* so far */
	REFLECTOR_ANSWER_DONE,  /* proven: `question` has what it says */
	REFLECTOR_ANSWER_AGAIN, /* a nonce came: call reflector_session_ask() once more */
	REFLECTOR_ANSWER_REFUSED,
	REFLECTOR_ANSWER_UNSUPPORTED,
	REFLECTOR_ANSWER_ERROR, /* another one: question.code */
	REFLECTOR_ANSWER_MALFORMED,
	REFLECTOR_ANSWER_LATE,     /* a line of text: the reflector took us for a person */
	REFLECTOR_ANSWER_NOT_STUN, /* anything else */
	REFLECTOR_ANSWER_LOST,     /* the connection ended */
	REFLECTOR_ANSWER_UNSENT,   /* the question could not be sent */
};

/* Makes CONNECT the question, and asks for a nonce. reflector_session_end() must follow. */
void reflector_session_start(
	struct reflector_session *session, const struct addr *reflector, const struct key *key);

/* Is the nonce there, or can none come by UDP? */
bool reflector_session_has_nonce(const struct reflector_session *session);

/* Call when `datagram` is readable. */
void reflector_session_take_nonce(struct reflector_session *session);

/* Sends `question` as it is now. Returns NONE or UNSENT. */
enum reflector_answer reflector_session_ask(struct reflector_session *session);

/*
 * Call when `stream` is readable, once for each message. With `prediction`, other messages than
 * home's prediction are passed over, and DONE means that it is there. Reads no byte behind a
 * message.
 */
enum reflector_answer reflector_session_read(
	struct reflector_session *session, struct port_prediction *prediction);

/* After RELAY was granted: returns the connection, the caller's from now on. */
int reflector_session_take(struct reflector_session *session);

/* Closes what is open. */
void reflector_session_end(struct reflector_session *session);

#endif
