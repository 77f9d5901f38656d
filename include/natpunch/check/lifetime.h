/*
 * lifetime.h - how long does a NAT remember a mapping over which nothing is sent? (RFC 5780 4.6)
 *
 * A search makes several mappings at the same time and leaves each one silent for a time of its
 * own; then one packet is sent to it from outside. So the search takes no longer than the longest
 * silence, and no question refreshes the mapping of another question. This module plans a search
 * and judges its trials; lifetime_search.h carries it out.
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
	LIFETIME_ALIVE, /* the packet after the silence came in */
	LIFETIME_GONE,  /* it did not come in */
	LIFETIME_VOID,  /* the trial failed for another reason, and says nothing */
};

struct lifetime_trial {
	uint16_t seconds; /* of silence */
	enum lifetime_sign sign;
};

/* In seconds; 0: not known. A mapping lives for at least `least`, and not for `most`. */
struct lifetime_bounds {
	uint16_t least;
	uint16_t most;
};

/*
 * Fills in the trials for a search up to `bound` seconds, which must be in its range. The first
 * trial, of one second, shows that the question works at all; the last one is of `bound` seconds.
 * From the third on, each is longer by a quarter at most than the one before. Returns how many.
 */
size_t lifetime_plan(uint16_t bound, struct lifetime_trial trials[LIFETIME_TRIAL_MAX]);

/* May the search end, because a trial is GONE, or none is left, and no shorter one is OPEN? */
bool lifetime_is_settled(const struct lifetime_trial *trials, size_t count);

/*
 * Judges the trials. If a longer one was alive and a shorter one gone, the bounds are wide enough
 * for both. If not even the shortest one was alive, the question does not work, and both bounds are
 * 0.
 */
struct lifetime_bounds lifetime_judge(const struct lifetime_trial *trials, size_t count);

#endif
