/*
 * lifetime.h - how long does a NAT remember a mapping over which nothing is sent? (RFC 5780 4.6)
 *
 * Several mappings are made at the same time, each is left silent for a time of its own, and then
 * something is sent to it from outside, once. So the search takes as long as the answer, and none
 * of the mappings is refreshed by the question about another. This is the plan of such a search
 * and what follows from it; lifetime_search.h carries it out.
 */
#ifndef NATPUNCH_CHECK_LIFETIME_H
#define NATPUNCH_CHECK_LIFETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIFETIME_BOUND_MIN 2
#define LIFETIME_BOUND_MAX 10800 /* seconds: RFC 5382 REQ-5 wants 7440 of a TCP connection */
#define LIFETIME_TRIAL_MAX 16

enum lifetime_sign {
	LIFETIME_OPEN,  /* not known yet */
	LIFETIME_ALIVE, /* what was sent after the silence came in */
	LIFETIME_GONE,  /* it did not */
	LIFETIME_VOID,  /* the trial failed for another reason, and tells nothing */
};

struct lifetime_trial {
	uint16_t seconds; /* of silence */
	enum lifetime_sign sign;
};

/* In seconds. A mapping lives for `least` at least, and not for longer than `most`; 0: untold. */
struct lifetime_bounds {
	uint16_t least;
	uint16_t most;
};

/*
 * Fills in the trials for a search up to `bound` seconds, which must be in its range: the shortest
 * first, of one second, which shows that the question works at all; the longest of `bound`; in
 * between each a quarter longer than the one before. Returns how many.
 */
size_t lifetime_plan(uint16_t bound, struct lifetime_trial trials[LIFETIME_TRIAL_MAX]);

/* Is all known that can be, so that nobody has to wait for the trials that are open? */
bool lifetime_is_settled(const struct lifetime_trial *trials, size_t count);

/*
 * What the trials tell. Where a longer one lived and a shorter one did not, the bounds are so wide
 * that both are right. When not even the shortest lived, the question does not work: nothing is
 * told.
 */
struct lifetime_bounds lifetime_judge(const struct lifetime_trial *trials, size_t count);

#endif
