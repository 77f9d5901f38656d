/*
 * binding_client.h - one question to one address of one reflector, from a borrowed port.
 *
 * A state machine that is handed events and the time, and never blocks:
 *
 *   WAITING --retry--> CONNECTING --connected--> ASKING --answer--> ANSWERED
 *      \____________________\______________________\--> FAILED
 *
 * WAITING: the pair of addresses is in use by a connection of the past; tried again shortly.
 * Over UDP, and with a handshake (raw_handshake.h), there is no CONNECTING, and in ASKING the
 * question is sent again after BINDING_CLIENT_RTO_MS, twice that, four times that and so on (RFC
 * 8489 6.2.1), for as long as the caller waits; what comes and is no answer is passed over, as
 * anybody can send a datagram. Over a stream so is what belongs to no transaction of ours (RFC 8489
 * 6.3.2). Error 300 is followed once to the server that it names (RFC 8489 section 10), if that is
 * of the same family and lies where the first one does: `request.remote` is that server's then. A
 * handshake is the question and the answer itself: no STUN is
 * spoken. A UDP port that is to be left free (`request.leave_free`) and can only be had by taking
 * it is held while a question is under way, and not when it is ANSWERED. Threat: whatever answers
 * at the other end. Its bytes are framed and judged by proto/stun and proto/binding; only a reply
 * to our random transaction id on our own connection counts.
 */
#ifndef NATPUNCH_CLIENT_BINDING_CLIENT_H
#define NATPUNCH_CLIENT_BINDING_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/proto/binding.h"
#include "natpunch/borrow/borrow.h"
#include "natpunch/base/error.h"
#include "natpunch/client/stun_stream.h"

enum binding_client_state {
	BINDING_CLIENT_WAITING,
	BINDING_CLIENT_CONNECTING,
	BINDING_CLIENT_ASKING,
	BINDING_CLIENT_ANSWERED,
	BINDING_CLIENT_FAILED,
};

struct binding_client {
	enum binding_client_state state;
	const struct borrow_method *method; /* as asked for; NULL: the first that can */
	struct borrow_request request;
	struct borrowed port;
	struct binding_request question;
	uint64_t due; /* when advance() wants to be called without an event; TIMER_NONE */
	struct stun_stream stream; /* what a connection has brought */
	unsigned lines;            /* times that a text line came, as the question was too late */
	bool reset;                /* when FAILED: the server sent a RST */
	bool followed;             /* to another server, by error 300 */
	void (*listener)(void *context, const void *data, size_t size);
	void *listener_context;
	struct binding_answer answer; /* when ANSWERED */
	struct addr local;            /* when ANSWERED: the address and port it was asked from */
	uint64_t hold_until;          /* a port that is to be left free */
	uint64_t rto;       /* without a connection: the time until the next sending, in ms */
	struct error error; /* when FAILED; or the last thing that was passed over */
	bool cannot;        /* when FAILED: this machine refuses, no other address would do */
};

/*
 * A stream that is ANSWERED may go on being advanced: when the peer closes it, it becomes FAILED.
 *
 * Starts; `mode` is how the connection is to go on after the answer, `hold_seconds` goes with
 * BINDING_MODE_HOLD. The strings that `request`
 * points at must outlive the client. binding_client_end() must follow in every case.
 */
void binding_client_start(struct binding_client *client, const struct borrow_method *method,
	const struct borrow_request *request, enum binding_mode mode, uint16_t hold_seconds,
	uint64_t now);

/* What to poll for: events for poll(2), and the descriptor (or -1). */
int binding_client_fd(const struct binding_client *client);
short binding_client_events(const struct binding_client *client);

/* Goes on after an event on the descriptor, or when `due` has come. */
void binding_client_advance(struct binding_client *client, uint64_t now);

/*
 * What comes and is not an answer to this question: what the server says without being asked, and
 * answers to others' questions over the same port. Over a stream whole and framed, not yet judged.
 * Set it after binding_client_start(); NULL passes over all.
 */
void binding_client_set_listener(struct binding_client *client,
	void (*listener)(void *context, const void *data, size_t size), void *context);

/*
 * ANSWERED: asks again, with a new transaction id, from the same port and over the same connection
 * where there is one; back to ASKING. This is the keep-alive. `answer` keeps what was said last.
 */
void binding_client_ask_again(struct binding_client *client, uint64_t now);

/*
 * ANSWERED: something else is about to be sent over `port`, which is answered within
 * BINDING_CLIENT_HOLD_MS. So long a port is held that would be left free.
 */
void binding_client_hold(struct binding_client *client, uint64_t now);

/*
 * Ends it so that the mapping lives as long as the NAT allows. After FORGET was granted: without a
 * packet. After CLOSE was granted: the reflector's FIN, which is right behind its answer, is waited
 * for (at most BINDING_CLIENT_FIN_WAIT_MS), so that the TIME_WAIT is not ours. Else FIN.
 */
void binding_client_end(struct binding_client *client);

#define BINDING_CLIENT_FIN_WAIT_MS 250
#define BINDING_CLIENT_RTO_MS      500 /* RFC 8489 6.2.1 */
#define BINDING_CLIENT_HOLD_MS     3000

#endif
