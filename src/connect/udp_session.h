/*
 * udp_session.h - asks one reflector over UDP where home is, again and again: with each question
 * the reflector tells home where we are.
 *
 * A state machine that takes events and the time. Never blocks.
 *
 *   ASKING --home's address in our family--> KNOWN, and again with each answer
 *      \____ no such address ______________> UNKNOWN
 *       \___ a refusal, a bad answer ______> FAILED
 *
 * CONNECT is sent from the local port, by the method that won the race for its mapping, at first
 * and ASK_AGAIN_MS after each answer. Once KNOWN, a failure is passed over.
 *
 * Threat: the reflector, and all hosts that can send to the port. One call of udp_session_advance()
 * takes UDP_SESSION_RECEIVE_MAX datagrams at most, so that a flood does not outlast the time.
 */
#ifndef NATPUNCH_CONNECT_UDP_SESSION_H
#define NATPUNCH_CONNECT_UDP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/client/name_client.h"

#define UDP_SESSION_RECEIVE_MAX 64

enum udp_session_state {
	UDP_SESSION_NONE, /* nothing is open */
	UDP_SESSION_ASKING,
	UDP_SESSION_KNOWN, /* `home` */
	UDP_SESSION_UNKNOWN,
	UDP_SESSION_FAILED, /* `error` */
};

struct udp_session {
	enum udp_session_state state;
	const struct key *key;                /* of home; the caller's */
	struct mapping_race_result reflector; /* our mapping, and the borrowed port */
	struct name_client client;            /* CONNECT */
	bool asked;                           /* it is under way, or its answer is not taken yet */
	uint64_t ask_due;                     /* the next CONNECT, or TIMER_NONE */
	uint64_t begun;
	struct name_message_record home;
	uint64_t known_at;                 /* since when home is KNOWN */
	bool other_protocol, other_family; /* the reflector knows home in another one */
	struct error error;
};

/* Takes over *result and its port. *session must stay where it is until udp_session_end(). */
void udp_session_start(struct udp_session *session, const struct mapping_race_result *result,
	const struct key *key, uint64_t now);

/* What to poll for input, or -1; and when to call udp_session_advance(), or TIMER_NONE. */
int udp_session_fd(const struct udp_session *session);
uint64_t udp_session_due(const struct udp_session *session);

/* Reads answers, and asks when it is due. */
void udp_session_advance(struct udp_session *session, uint64_t now);

/* ASKING or KNOWN? */
bool udp_session_is_open(const struct udp_session *session);

/* The family that this reflector sees us in. */
enum addr_family udp_session_family(const struct udp_session *session);

/* Closes what is open; may be called twice. `home` and our mapping can still be read. */
void udp_session_end(struct udp_session *session);

#endif
