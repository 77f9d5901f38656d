/*
 * times.h - how long connect waits for what.
 */
#ifndef NATPUNCH_CONNECT_TIMES_H
#define NATPUNCH_CONNECT_TIMES_H

#include <stdint.h>

#include "natpunch/client/punch.h"

/* The deadlines of the phases (connect/attempt.c), in milliseconds. */
struct initiator_times {
	uint32_t stagger;      /* between the begins of two attempts (RFC 8305 section 5) */
	uint32_t held;         /* for a connection to a home that is held, before another reflector
				* is asked as well */
	uint32_t nonce;        /* how much later than the handshake the nonce may come by UDP */
	uint32_t next_address; /* of the reflector's: this one is begun anew then */
	uint32_t answer;       /* to CONNECT */
	uint32_t first;        /* for a connection, where there is no second try */
	uint32_t second_after; /* a try without a connection, or the relay is; a SYN was sent again
				*/
	uint32_t prediction;   /* home's; it takes PORT_SAMPLER_TIMEOUT_MS at most to look */
	uint32_t second;       /* for the connections of the second try */
	uint32_t relay;        /* the reflector's own patience with home, and more */
};

#define INITIATOR_TIMES_DEFAULT                                                                    \
	{                                                                                          \
		.stagger = 250, .held = 1000, .nonce = 30, .next_address = 2000, .answer = 5000,   \
		.first = PUNCH_TIMEOUT_MS, .second_after = 1500, .prediction = 3000,               \
		.second = 2500, .relay = 8000,                                                     \
	}

#endif
