/*
 * sights.h - what the NAT does with the next connections from a port: three are made, one right
 * after the other, to the places of a reflector with two addresses where it was not asked yet. Each
 * asks a Binding question there; from the ports in the answers follows a forecast.
 *
 *   the first address, the other port     the second address, the first port
 *   the second address, the other port
 *
 * They end by RST, so that neither the NAT nor a host keeps them: the next time they are new again.
 * A state machine that is handed events and the time; it calls nothing that POSIX does not have.
 */
#ifndef NATPUNCH_SIGHTS_H
#define NATPUNCH_SIGHTS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/addr.h"
#include "natpunch/binding.h"
#include "natpunch/forecast.h"
#include "natpunch/punch.h"

#define SIGHTS_TIMEOUT_MS 1500 /* a SYN that is lost is sent again after a second */
#define SIGHTS_ANSWER_MAX 512  /* bytes; a reflector's are fewer */
#define SIGHTS_WATCH_MAX  FORECAST_SIGHTS

enum sights_state {
	SIGHTS_NONE, /* not in use */
	SIGHTS_LOOKING,
	SIGHTS_DONE, /* `forecast` */
};

struct sights_one {
	int fd; /* or -1 */
	bool asked;
	struct binding_request question;
	uint8_t bytes[SIGHTS_ANSWER_MAX];
	size_t received;
	struct addr mapped; /* ADDR_NONE: not seen */
};

struct sights {
	enum sights_state state;
	struct sights_one each[FORECAST_SIGHTS];
	enum addr_family family;
	uint64_t started;
	uint64_t due;           /* when it is over (clock_now_ms()) */
	uint64_t round_trip_ms; /* to the reflector; 0: not seen */
	struct forecast forecast;
};

/*
 * `reflector` was asked from the port already, `other` is its OTHER-ADDRESS. `open` is as for
 * punch_start(), and only called here. The state may already be DONE: nothing can be told.
 */
void sights_start(struct sights *sights, const struct addr *reflector, const struct addr *other,
	punch_opener *open, void *context, uint64_t now);

/* Fills all entries for poll(2); those of a state other than LOOKING are empty. */
void sights_watch(const struct sights *sights, struct pollfd fds[SIGHTS_WATCH_MAX]);

/* Goes on with what poll(2) found, or when `due` has come. */
void sights_advance(struct sights *sights, const struct pollfd fds[SIGHTS_WATCH_MAX], uint64_t now);

/* Closes what is open; leaves SIGHTS_NONE. */
void sights_end(struct sights *sights);

#endif
