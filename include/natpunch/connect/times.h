/*
 * times.h - the times of natpunch connect.
 */
#ifndef NATPUNCH_CONNECT_TIMES_H
#define NATPUNCH_CONNECT_TIMES_H

#include <stdint.h>

#include "natpunch/client/punch.h"

/* The deadlines of the phases (connect/attempt.c), in milliseconds. */
struct initiator_times {
	uint32_t stagger;      /* between the begins of two attempts (RFC 8305 section 5) */
	uint32_t held;         /* for a reflector that holds home, before another one is asked */
	uint32_t nonce;        /* from the handshake to the nonce by UDP */
	uint32_t next_address; /* for a handshake with one address of the reflector */
	uint32_t answer;       /* for that to CONNECT */
	uint32_t first;        /* for the first try, where no second one can follow */
	uint32_t second_after; /* for the first try, where a second one or the relay follows: by
				* then the kernel has sent a lost SYN again */
	uint32_t prediction;   /* for home's, whose sampler takes PORT_SAMPLER_TIMEOUT_MS at most */
	uint32_t second;       /* for the connections of the second try */
	uint32_t relay;        /* for the answer to RELAY: more than the reflector waits for home */
};

#define INITIATOR_TIMES_DEFAULT                                                                    \
	{                                                                                          \
		.stagger = 250, .held = 1000, .nonce = 30, .next_address = 2000, .answer = 5000,   \
		.first = PUNCH_TIMEOUT_MS, .second_after = 1500, .prediction = 3000,               \
		.second = 2500, .relay = 8000,                                                     \
	}

#endif
