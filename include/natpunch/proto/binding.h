/*
 * binding.h - the one question of STUN: "from which address do you see me?" (RFC 8489 section 3)
 *
 * Writes and reads the messages of both sides; the caller has sockets, time and tables.
 *
 * To add an attribute to each answer: its number in stun.h, its value in struct binding_server,
 * which tcp_open() in src/reflector/tcp.c fills and src/reflector/worker.c copies for UDP, and
 * write_success() in binding.c. It must be comprehension-optional (RFC 8489 14), and keep the bound
 * of binding_write_answer().
 *
 * Over TCP a natpunch client adds NATPUNCH-CONNECTION: how it wants to go on with this connection.
 * The attribute is comprehension-optional, so every other server ignores it.
 *
 *   0                   1                   2                   3
 *  |      mode     |       0       |            seconds            |
 *
 * The reflector's answer holds the attribute only when the request did; its mode is what it grants.
 */
#ifndef NATPUNCH_PROTO_BINDING_H
#define NATPUNCH_PROTO_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/stun.h"

enum binding_mode {
	BINDING_MODE_NONE = 0,   /* no attribute: an ordinary STUN client */
	BINDING_MODE_CLOSE = 1,  /* close in order, server first, right after the answer */
	BINDING_MODE_FORGET = 2, /* neither end sends FIN or RST: both forget the connection */
	BINDING_MODE_HOLD = 3,   /* keep it; the client speaks at least every `seconds` */
	BINDING_MODE_WAIT = 4,   /* be silent for `seconds`, and then close in order */
};

struct binding_request {
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	enum binding_mode mode;
	uint16_t seconds;
	/* RFC 5780, over UDP, of a server that has said OTHER-ADDRESS: */
	bool change_ip;         /* answer from your other address */
	bool change_port;       /* answer from your other port */
	uint16_t response_port; /* answer to this port of the source; 0: to that of the source */
	uint16_t padding;       /* so many bytes of PADDING, in the answer too; a multiple of 4 */
};

/* The kind of a reply. */
enum binding_outcome {
	BINDING_MAPPED,    /* a mapping */
	BINDING_REFUSED,   /* a well formed error response: `code` and `reason` */
	BINDING_UNRELATED, /* well formed, but another transaction's or not a response */
	BINDING_MALFORMED, /* not an answer */
};

struct binding_answer {
	struct addr mapped; /* the reflexive address */
	struct addr other;  /* OTHER-ADDRESS of RFC 5780, or ADDR_NONE */
	struct addr origin; /* RESPONSE-ORIGIN of RFC 5780, or ADDR_NONE */
	enum binding_mode mode;
	uint16_t seconds;
	struct addr
		alternate; /* with code 300: ALTERNATE-SERVER (RFC 8489 section 10), or ADDR_NONE */
	unsigned code;     /* STUN error code with BINDING_REFUSED */
	char reason[64];   /* its reason phrase, escaped */
};

/* Writes a Binding request with FINGERPRINT. Returns its size, or 0 when capacity is too small. */
size_t binding_write_request(const struct binding_request *request, void *out, size_t capacity);

/*
 * Judges a reply to `request`. `transport` is the family that the request travelled over: a
 * mapped address of the other family is malformed, except an IPv4 address over IPv6, which NAT64
 * (RFC 6146) makes. XOR-MAPPED-ADDRESS is preferred, then the 0x8020 of the drafts; MAPPED-ADDRESS,
 * which routers rewrite, is used if both are missing. Port 0, an unspecified or a multicast address
 * is malformed. An IPv4-mapped IPv6 address is the IPv4 address in it. A mode counts if it is the
 * one asked for, or CLOSE. On malformed or unrelated replies, *why is a constant that says what is
 * wrong.
 */
enum binding_outcome binding_read_answer(const struct binding_request *request,
	enum addr_family transport, const void *data, size_t size, struct binding_answer *out,
	const char **why);

/* NATPUNCH-CONNECTION, for other methods that carry it. Malformed, or no mode of ours: NONE. */
void binding_put_connection(struct wire_writer *writer, enum binding_mode mode, uint16_t seconds);
enum binding_mode binding_read_connection(
	const struct stun_attribute *attribute, uint16_t *seconds);

/*
 * RFC 5780: the four addresses with ports that a server answers from, counted from the one that a
 * request came to: 0 is that one, and the bits say what differs.
 */
#define BINDING_OTHER_PORT  1
#define BINDING_OTHER_IP    2
#define BINDING_PLACE_COUNT 4

struct binding_places {
	struct addr at[BINDING_PLACE_COUNT];
};

/* The reflector's settings for UDP or for TCP, and what it adds to each answer. */
struct binding_server {
	const char *software;                /* SOFTWARE attribute, or NULL */
	bool can_forget;                     /* CAP_NET_ADMIN is here: FORGET can be granted */
	bool stream;                         /* over TCP or TLS: NATPUNCH-CONNECTION counts */
	const struct binding_places *places; /* NULL: RFC 5780 is not served */
};

/* What the server grants of what was asked for; *seconds is brought into range. */
enum binding_mode binding_grant(
	const struct binding_server *server, enum binding_mode mode, uint16_t *seconds);

enum binding_verdict {
	BINDING_SILENT,   /* not for us: send nothing */
	BINDING_ANSWERED, /* an answer was written */
	BINDING_BROKEN,   /* not STUN: on a stream, close it */
};

/*
 * Answers one whole message from `source`. A Binding request gets XOR-MAPPED-ADDRESS (an RFC 3489
 * one MAPPED-ADDRESS), FINGERPRINT where the request had one; a request with unknown
 * comprehension-required attributes gets 420 and UNKNOWN-ATTRIBUTES (RFC 8489 6.3.1), a request of
 * another method 400; indications and responses get nothing, nor does an RFC 3489 request to answer
 * from a changed address: its clients would take the error for that answer. A datagram's answer is
 * never larger than RFC 8489 needs: SOFTWARE is left out if it would make the answer larger than
 * the request by more than the address, and an error has no reason phrase. Attributes behind
 * MESSAGE-INTEGRITY do not count (RFC 8489 14.5). *size is 0 unless BINDING_ANSWERED; *granted says
 * how the connection goes on.
 *
 * With places (RFC 5780 6.1) a success also has MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS;
 * one for an RFC 3489 request SOURCE-ADDRESS and CHANGED-ADDRESS. Over datagrams CHANGE-REQUEST,
 * RESPONSE-PORT and PADDING are served then: *granted says from which place and to which port of
 * the source the answer is to be sent, and its PADDING is as long as the request's, 1500 bytes at
 * most. Errors always go from where the request came to, to where it came from.
 */
enum binding_verdict binding_write_answer(const struct binding_server *server,
	const struct addr *source, const void *data, size_t data_size, void *out, size_t capacity,
	size_t *size, struct binding_request *granted);

#endif
