/*
 * udp_session.h - what one reflector says, over UDP, of where home is: asked again and again, as
 * each time home is told where we are.
 *
 * A state machine that is handed events and the time, and never blocks:
 *
 *   ASKING --home's address in our family--> KNOWN, and again with each answer
 *      \____ no such address ______________> UNKNOWN
 *       \___ a refusal, a bad answer ______> FAILED
 *
 * CONNECT goes out from the local port, over what won the race for its mapping, ASK_AGAIN_MS after
 * each answer. Once KNOWN, a failure is passed over. Threat: the reflector, and everybody who can
 * send to the port; udp_session_advance() takes UDP_SESSION_RECEIVE_MAX datagrams at most.
 */
#ifndef NATPUNCH_CONNECT_UDP_SESSION_H
#define NATPUNCH_CONNECT_UDP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/base/key.h"
#include "natpunch/client/mapping_race.h"
#include "natpunch/client/name_client.h"

#define UDP_SESSION_RECEIVE_MAX 64 /* so that a flood does not outlast the time */

enum udp_session_state {
	UDP_SESSION_NONE, /* nothing is open */
	UDP_SESSION_ASKING,
	UDP_SESSION_KNOWN, /* home */
	UDP_SESSION_UNKNOWN,
	UDP_SESSION_FAILED, /* error */
};

struct udp_session {
	enum udp_session_state state;
	const struct key *key;                /* of home; the caller's */
	struct mapping_race_result reflector; /* our mapping, and the borrowed port */
	struct name_client client;            /* CONNECT */
	bool asked;                           /* it is under way, or there is an answer */
	uint64_t ask_due;                     /* the next CONNECT, or TIMER_NONE */
	uint64_t begun;
	struct name_message_record home;
	uint64_t known_at;                 /* since when home is KNOWN */
	bool other_protocol, other_family; /* home is known there in that */
	struct error error;
};

/* Owns what the race has won (`result`) from now on. *session must stay where it is. */
void udp_session_start(struct udp_session *session, const struct mapping_race_result *result,
	const struct key *key, uint64_t now);

/* ASKING or KNOWN: to poll for input, and when udp_session_advance() wants to be called. */
int udp_session_fd(const struct udp_session *session);
uint64_t udp_session_due(const struct udp_session *session);

/* Takes what has come, and asks when that is due. */
void udp_session_advance(struct udp_session *session, uint64_t now);

/* ASKING or KNOWN? */
bool udp_session_is_open(const struct udp_session *session);

/* The family that this reflector sees us in. */
enum addr_family udp_session_family(const struct udp_session *session);

/* Ends it; twice is once. Home and our mapping stay to be read. */
void udp_session_end(struct udp_session *session);

#endif
