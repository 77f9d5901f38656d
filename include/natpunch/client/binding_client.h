/*
 * binding_client.h - one question to one address of one reflector, from a borrowed port.
 *
 * A state machine that takes events and the time, and never blocks:
 *
 *   WAITING --retry--> CONNECTING --connected--> ASKING --answer--> ANSWERED
 *      \____________________\______________________\--> FAILED
 *
 * WAITING: an earlier connection has the pair of addresses; it is tried again shortly.
 *
 * Over UDP, and with a handshake (raw_handshake.h), there is no CONNECTING. In ASKING the question
 * is sent again after BINDING_CLIENT_RTO_MS, twice that, four times that and so on (RFC 8489
 * 6.2.1), for as long as the caller waits. Datagrams that are no answer are ignored, as anybody can
 * send them; over a stream so are messages of no transaction of ours (RFC 8489 6.3.2). Error 300 is
 * followed once to the server that it names (RFC 8489 section 10), if that is of the same family
 * and as public or private as the first one; then `request.remote` is that server. A handshake is
 * question and answer itself, without STUN. A UDP port that is to be left free
 * (`request.leave_free`), and that the method has to take, is held while a question is under way,
 * and not when it is ANSWERED.
 *
 * Threat: the other end. proto/stun and proto/binding frame and judge its bytes; only a reply to
 * our random transaction id on our own connection counts.
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

/* The descriptor to poll (or -1), and its events for poll(2). */
int binding_client_fd(const struct binding_client *client);
short binding_client_events(const struct binding_client *client);

/* Goes on after an event on the descriptor, or when `due` has come. */
void binding_client_advance(struct binding_client *client, uint64_t now);

/*
 * Sets who gets the messages that do not answer this question: those that the server sends unasked,
 * and answers to other questions over the same port. Over a stream they are whole and framed, and
 * not yet judged. Set it after binding_client_start(); NULL ignores them.
 */
void binding_client_set_listener(struct binding_client *client,
	void (*listener)(void *context, const void *data, size_t size), void *context);

/*
 * ANSWERED: asks again, with a new transaction id, from the same port and over the same connection
 * if there is one; back to ASKING. This is the keep-alive. `answer` keeps the last answer.
 */
void binding_client_ask_again(struct binding_client *client, uint64_t now);

/*
 * ANSWERED: the caller sends something else over `port`. Its answer is awaited for
 * BINDING_CLIENT_HOLD_MS, and a port that is to be left free is held for so long.
 */
void binding_client_hold(struct binding_client *client, uint64_t now);

/*
 * Ends it so that the mapping lives as long as the NAT allows. After FORGET was granted: without a
 * packet. After CLOSE was granted: waits, at most BINDING_CLIENT_FIN_WAIT_MS, for the reflector's
 * FIN, which follows its answer, so that the TIME_WAIT is not ours. Else by FIN.
 */
void binding_client_end(struct binding_client *client);

#define BINDING_CLIENT_FIN_WAIT_MS 250
#define BINDING_CLIENT_RTO_MS      500 /* RFC 8489 6.2.1 */
#define BINDING_CLIENT_HOLD_MS     3000

#endif
