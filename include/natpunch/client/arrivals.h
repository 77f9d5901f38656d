/*
 * arrivals.h - did a dial-back come to this machine?
 *
 * That somebody answers at the mapping does not say who: a router may forward the port to another
 * machine of the LAN, or answer itself. So the SYNs that come to this machine are watched (tap.h)
 * while a reflector dials, and what the reflector says of its dialling is looked for among them.
 *
 * A SYN is the dial-back when
 *   - its address and port are those that the reflector tells; or
 *   - its port is, and it came to the local or the public port. The reflector tells the address of
 *     its socket: behind a NAT of its own, as in many clouds, another one is seen here.
 * It must be for an address of this machine, to whichever port: a firewall's rule of this machine
 * may lead it on.
 *
 * That nothing came is only said where all was seen. Where another SYN came to one of the two ports
 * meanwhile, it may have been the dial-back, with an address and port that a proxy or a NAT on the
 * way has changed.
 *
 * Without CAP_NET_RAW there is no tap. Then a connection that is still in the kernel's table proves
 * the dial-back, and nothing proves the opposite.
 *
 * Threat: a host of the LAN that gets the dial-back in place of this machine can send a SYN that
 * looks like it. It could pass on all of the connection as well.
 */
#ifndef NATPUNCH_CLIENT_ARRIVALS_H
#define NATPUNCH_CLIENT_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

#define ARRIVALS_MAX          64 /* SYNs that are remembered, the last ones */
#define ARRIVALS_EXPECTED_MAX 4
#define ARRIVALS_WHY_SIZE     192

enum arrival {
	ARRIVAL_UNTOLD,   /* it could not be seen */
	ARRIVAL_SEEN,     /* it came to this machine */
	ARRIVAL_DOUBTFUL, /* it was not seen; but what was seen may have been it */
	ARRIVAL_MISSING,  /* it did not come */
};

struct arrivals_syn {
	struct addr source; /* with ports */
	struct addr destination;
};

struct arrivals {
	int tap;     /* or -1 */
	int problem; /* then: errno, or 0 where the addresses are translated on the way */
	struct addr local;
	uint16_t public_port;
	struct addr expected[ARRIVALS_EXPECTED_MAX]; /* who else dials */
	size_t expected_count;
	struct arrivals_syn seen[ARRIVALS_MAX]; /* number n is at n % ARRIVALS_MAX */
	size_t count;
	bool lost;         /* not all was seen, or is remembered */
	struct addr doubt; /* with DOUBTFUL: where that one came from */
};

/*
 * Begins to watch, before anybody dials: `local` and `mapped` are the two ends of the mapping. That
 * it cannot is no error. arrivals_close() must follow.
 */
void arrivals_open(struct arrivals *arrivals, const struct addr *local, const struct addr *mapped);

/* A reflector that is asked to dial: what comes from its address is no other's dial-back. */
void arrivals_expect(struct arrivals *arrivals, const struct addr *reflector);

/* Takes what has come. To be called whenever the tap is readable. */
void arrivals_read(struct arrivals *arrivals);

/*
 * Did the dial-back from there, with its port where that is told, come? To be called once it is
 * over.
 */
enum arrival arrivals_find(struct arrivals *arrivals, const struct addr *from);

/* The same of what is remembered, without a look at the kernel; `local` alone is this machine's. */
enum arrival arrivals_judge(struct arrivals *arrivals, const struct addr *from);

/* With UNTOLD and DOUBTFUL: why it cannot be told, in words. Returns out. */
const char *arrivals_explain(
	const struct arrivals *arrivals, enum arrival arrival, char out[ARRIVALS_WHY_SIZE]);

/* Ends watching; twice is once. What was seen stays. */
void arrivals_close(struct arrivals *arrivals);

#endif
