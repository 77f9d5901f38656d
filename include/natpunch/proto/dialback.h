/*
 * dialback.h - "connect to me from elsewhere": a STUN method of natpunch's own, as bytes.
 *
 *   method  number  request                success response
 *   DIAL    0x0E4   DIAL [, FINGERPRINT]   XOR-MAPPED-ADDRESS, a DIALLED for each place that was
 *                                          asked for [, FINGERPRINT]
 *
 * The reflector connects over TCP to the address that the request came from, and to no other IP
 * address: there is no field that could name one. The request comes over TCP alone, where a
 * handshake has proven the source; over UDP the method is unknown (error 400). Both attributes are
 * from the comprehension-optional part of IANA's registry, the method from its unassigned part.
 *
 * NATPUNCH-DIAL (0xC6E4), 4 bytes: from which places to dial, and which port
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |    places     |       0       |             port              |
 *
 *   places  bits: 1: the address that was asked, from a port that nobody contacted; 2: the
 *           reflector's other address, as RFC 5780 has it. Further bits are not looked at.
 *   port    0: the source port of the request. Else that port of the source's address: for a
 *           mapping that has no connection, or that another reflector is to try.
 *
 * XOR-MAPPED-ADDRESS in the answer is the address that was dialled.
 *
 * NATPUNCH-DIALLED (0xC6E5), 24 bytes and a banner: how one attempt went
 *
 *  |     place     |    outcome    |         milliseconds          |
 *  |    family     |       0       |             port              |
 *  |                       address (128 bits)                      |
 *  |              what the other end said, 0 to 64 bytes           |
 *
 *   place          1 or 2, as above
 *   outcome        enum dialback_outcome
 *   milliseconds   from the SYN to the outcome; 0 if no SYN was sent
 *   family, port, address
 *                  the source of the attempt: 1: IPv4, in the first 32 bits, the rest zero; 2:
 *                  IPv6; 0, with all else 0: there was no attempt
 */
#ifndef NATPUNCH_PROTO_DIALBACK_H
#define NATPUNCH_PROTO_DIALBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/stun.h"

#define DIALBACK_SAME_ADDRESS  1 /* bits of `places` */
#define DIALBACK_OTHER_ADDRESS 2

#define DIALBACK_RESULT_MAX  2  /* one for each place */
#define DIALBACK_BANNER_MAX  64 /* bytes */
#define DIALBACK_REQUEST_MAX 64 /* bytes of a request that dialback_write_request() writes */
#define DIALBACK_ANSWER_MAX  256
#define DIALBACK_TIMEOUT_MS  3000 /* for one attempt: connecting and the banner together */

enum dialback_outcome {
	DIALBACK_CONNECTED = 1, /* the handshake was completed; the banner may be empty */
	DIALBACK_CLOSED,        /* the same, but the other end closed before a whole line */
	DIALBACK_REFUSED,       /* RST */
	DIALBACK_TIMED_OUT,     /* no answer */
	DIALBACK_UNREACHABLE,   /* ICMP said so, or there is no route */
	DIALBACK_NO_PLACE,      /* not tried: this reflector has no other address */
	DIALBACK_OFF,           /* not tried: this reflector dials nobody */
	DIALBACK_LIMITED,       /* not tried: asked too often, or it is too busy */
	DIALBACK_FORBIDDEN,     /* not tried: that would be the reflector itself */
	DIALBACK_FAILED,        /* not tried: the reflector could not */
};

struct dialback_request {
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	uint8_t places; /* DIALBACK_SAME_ADDRESS | DIALBACK_OTHER_ADDRESS, at least one */
	uint16_t port;  /* 0: the source port of the connection that it goes over */
};

struct dialback_result {
	uint8_t place; /* one of the bits */
	enum dialback_outcome outcome;
	uint16_t milliseconds;
	struct addr from; /* ADDR_NONE where nothing was tried */
	uint8_t banner[DIALBACK_BANNER_MAX];
	size_t banner_size;
};

struct dialback_answer {
	struct addr target; /* what was dialled */
	struct dialback_result results[DIALBACK_RESULT_MAX];
	size_t count;
	unsigned code;   /* with DIALBACK_REFUSAL: the STUN error code */
	char reason[64]; /* and its reason phrase, escaped */
};

/* "connected", "refused", "timed out", ... or "?" for what is none. */
const char *dialback_outcome_name(enum dialback_outcome outcome);

/* Was the mapping seen to work: CONNECTED or CLOSED? */
bool dialback_is_through(enum dialback_outcome outcome);

/*
 * The first line of the banner, escaped, without its CR and LF. Always ends with a NUL; capacity
 * must be at least 1. Returns out.
 */
const char *dialback_format_banner(
	const struct dialback_result *result, char *out, size_t capacity);

/*
 * The asking side: writes a request. Returns the size, or 0 when capacity is too small.
 */
size_t dialback_write_request(const struct dialback_request *request, void *out, size_t capacity);

enum dialback_reply {
	DIALBACK_ANSWERED,  /* target and results */
	DIALBACK_REFUSAL,   /* an error response: code and reason; other servers say 400 */
	DIALBACK_UNRELATED, /* well formed, but no reply to this request */
	DIALBACK_MALFORMED,
};

/*
 * Judges one whole message. Results of places that were not asked for, or twice for one, make it
 * malformed, as does one that is missing. With UNRELATED and MALFORMED *why is a constant that
 * says what is wrong.
 */
enum dialback_reply dialback_read_answer(const struct dialback_request *request, const void *data,
	size_t size, struct dialback_answer *out, const char **why);

/* Is this whole message, by its type, a request of method DIAL? */
bool dialback_is_request(const void *data, size_t size);

/*
 * The answering side. Reads a message of class request and method DIAL. Returns 0, or -1 after
 * writing the error response for it, *size bytes: 420 for an unknown attribute that must be
 * understood, 400 for a missing or malformed NATPUNCH-DIAL or one without a place.
 */
int dialback_read_request(const struct stun_message *message, struct dialback_request *out,
	void *error, size_t capacity, size_t *size) __attribute__((warn_unused_result));

/* Writes the answer: target, results and count of `answer`. Returns its size, or 0. */
size_t dialback_write_answer(const uint8_t transaction[STUN_TRANSACTION_SIZE],
	const struct dialback_answer *answer, void *out, size_t capacity);

#endif
