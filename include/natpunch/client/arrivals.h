/*
 * arrivals.h - did a dial-back come to this machine?
 *
 * An answer at the mapping does not say which machine answered: a router may forward the port to
 * another machine of the LAN, or answer itself. So this module watches the SYNs that come to this
 * machine (tap.h) while a reflector dials, and looks among them for the one of the dial-back.
 *
 * A SYN is the dial-back when
 *   - it has the address and the port that the reflector reports; or
 *   - it has that port, and came to the local or the public port. The reflector reports the address
 *     of its socket: behind a NAT of its own, as in many clouds, another one is seen here.
 * It must be for an address of this machine, at any port: a firewall rule of this machine may
 * redirect it.
 *
 * MISSING needs a complete view. If another SYN came to one of the two ports meanwhile, it may have
 * been the dial-back, with an address and port that a proxy or a NAT on the way has changed.
 *
 * Without CAP_NET_RAW there is no tap. Then a connection in the kernel's table still proves that
 * the dial-back came, and nothing proves that it did not.
 *
 * Threat: a host of the LAN that gets the dial-back instead of this machine can send a SYN that
 * looks like it. It could forward the whole connection as well.
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
 * Begins to watch; call it before a reflector dials. `local` and `mapped` are the two ends of the
 * mapping. If it cannot watch, that is no error. arrivals_close() must follow.
 */
void arrivals_open(struct arrivals *arrivals, const struct addr *local, const struct addr *mapped);

/* Names a reflector that is asked to dial: a SYN from its address is no other's dial-back. */
void arrivals_expect(struct arrivals *arrivals, const struct addr *reflector);

/* Reads the SYNs that have come. Call it whenever the tap is readable. */
void arrivals_read(struct arrivals *arrivals);

/*
 * Did the dial-back from that address come, and from its port if that is known? Call it once the
 * dial-back is over.
 */
enum arrival arrivals_find(struct arrivals *arrivals, const struct addr *from);

/* The same by the remembered SYNs alone, without the kernel; only `local` is this machine's. */
enum arrival arrivals_judge(struct arrivals *arrivals, const struct addr *from);

/* With UNTOLD and DOUBTFUL: writes why it is not known. Returns out. */
const char *arrivals_explain(
	const struct arrivals *arrivals, enum arrival arrival, char out[ARRIVALS_WHY_SIZE]);

/* Ends watching; twice is once. What was seen stays. */
void arrivals_close(struct arrivals *arrivals);

#endif
