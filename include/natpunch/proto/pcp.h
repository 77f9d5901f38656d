/*
 * pcp.h - messages that ask a router for a port: the Port Control Protocol (RFC 6887) and its
 * predecessor, the NAT Port Mapping Protocol (RFC 6886). Both use the same UDP port.
 *
 * PCP, the header of a request (24 bytes) and of a response; an address is 128 bits, an IPv4 one
 * as ::ffff:a.b.c.d
 *
 *	|  version = 2  |R|   opcode    |           reserved            |
 *	|                      requested lifetime                       |
 *	|                     the client's address                      |
 *
 *	|  version = 2  |R|   opcode    |   reserved    |    result     |
 *	|                           lifetime                            |
 *	|                             epoch                             |
 *	|                      reserved (96 bits)                       |
 *
 * MAP, behind either (36 bytes); options may follow those of a response
 *
 *	|                        nonce (96 bits)                        |
 *	|   protocol    |               reserved (24 bits)              |
 *	|         internal port         |         external port         |
 *	|                       external address                        |
 *
 * NAT-PMP: a request for the router's own address is the first 2 bytes of the one for a port; the
 * response to it is 12 bytes, that for a port is 16
 *
 *	|  version = 0  |    opcode     |           reserved            |
 *	|         internal port         |         external port         |
 *	|                           lifetime                            |
 *
 *	|  version = 0  | 128 + opcode  |            result             |
 *	|                             epoch                             |
 *	|        IPv4 address           , or the two ports as above     |
 *	|                           lifetime                            |
 */
#ifndef NATPUNCH_PROTO_PCP_H
#define NATPUNCH_PROTO_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"

#define PCP_PORT        5351 /* of the router; UDP */
#define PCP_CLIENT_PORT 5350 /* of everybody: where a router announces that it has started */
#define PCP_NONCE_SIZE  12
#define PCP_REQUEST_MAX 60
#define PCP_ANSWER_MAX  1100 /* RFC 6887 section 7 */

enum pcp_kind {
	PCP_MAP,
	PCP_ANNOUNCE,        /* is somebody there, and what is the epoch? */
	PCP_NAT_PMP_ADDRESS, /* which address has the router on its other side? */
	PCP_NAT_PMP_MAP,
};

struct pcp_request {
	enum pcp_kind kind;
	/* PCP: the address that the request leaves from. Its family is that of the mapping. */
	struct addr client;
	/* The rest is of the two kinds of MAP. */
	uint8_t nonce[PCP_NONCE_SIZE]; /* PCP: any host that knows it may change the mapping */
	enum mapping_protocol protocol;
	uint16_t internal_port;
	uint16_t external_port; /* a wish */
	uint32_t lifetime;      /* seconds; 0 takes the mapping back, and wishes for nothing */
};

enum pcp_reading {
	PCP_READ_NOTHING,       /* no answer to this request: go on waiting */
	PCP_READ_ANSWER,        /* its result says how it went */
	PCP_READ_OTHER_VERSION, /* the router speaks the other one of the two protocols */
};

struct pcp_answer {
	uint16_t result;      /* 0: done; else see pcp_result_name() */
	uint32_t epoch;       /* seconds since the router forgot its mappings, if it ever did */
	uint32_t lifetime;    /* PCP: also of an error; 0 where there is none */
	struct addr external; /* what is told: an address, a port or both */
};

/* Writes a request. Returns its size. */
size_t pcp_write(const struct pcp_request *request, uint8_t out[PCP_REQUEST_MAX]);

/*
 * Reads a datagram as an answer to the request. An answer to a MAP has its protocol and internal
 * port, and in PCP its nonce; one that grants names an external port, and a lifetime unless 0 was
 * asked for. An error of NAT-PMP may be without ports. *out is undefined, except with
 * PCP_READ_ANSWER.
 */
enum pcp_reading pcp_read(
	const struct pcp_request *request, const void *data, size_t size, struct pcp_answer *out);

/*
 * Is this an unasked answer, which a router sends to all when it has started or has another address
 * (RFC 6887 section 14.1, RFC 6886 section 3.2.1)?
 */
bool pcp_is_announcement(const void *data, size_t size);

#define PCP_RESULT_DONE           0
#define PCP_RESULT_VERSION        1 /* UNSUPP_VERSION, in both protocols */
#define PCP_RESULT_NOT_AUTHORIZED 2 /* in both protocols */
#define PCP_RESULT_NO_RESOURCES   8 /* in PCP */
#define PCP_RESULT_NETWORK        3 /* NETWORK_FAILURE in NAT-PMP */

/* "PCP" or "NAT-PMP", and a result as its RFC has it: "NOT_AUTHORIZED"; "an unknown result". */
const char *pcp_protocol_name(enum pcp_kind kind);
const char *pcp_result_name(enum pcp_kind kind, uint16_t result);

/* What a router's epoch was, and when. All zero: not known yet. */
struct pcp_epoch {
	bool known;
	uint32_t server;
	uint64_t client; /* seconds of a clock that goes on while the machine sleeps */
};

/*
 * Notes the epoch of an answer that came at `now` (seconds). Returns false when the router has lost
 * its mappings meanwhile, by the rule of RFC 6887 section 8.5: it went back by more than a second,
 * or the two clocks disagree by more than a sixteenth and two seconds.
 */
bool pcp_epoch_take(struct pcp_epoch *epoch, uint32_t server, uint64_t now);

#endif
