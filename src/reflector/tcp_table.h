/*
 * tcp_table.h - the reflector's TCP connections, in memory fixed at the start.
 */
#ifndef NATPUNCH_REFLECTOR_TCP_TABLE_H
#define NATPUNCH_REFLECTOR_TCP_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "reflector/source_table.h"
#include "natpunch/base/timer_heap.h"

#define TCP_TABLE_NONE UINT32_MAX

enum tcp_phase {
	TCP_PHASE_QUIET,     /* too little said to tell what it speaks */
	TCP_PHASE_STUN,      /* speaks STUN; `mode` says how it goes on between requests */
	TCP_PHASE_HTTP,      /* in the headers of a GET or HEAD */
	TCP_PHASE_LINGERING, /* answered and half closed; what still comes is thrown away */
};

struct tcp_connection {
	int fd; /* -1 in a free slot */
	uint32_t generation;
	uint32_t next_free; /* of a free slot */
	struct addr peer;
	uint64_t due_later;    /* `paused`: its deadline from then on */
	uint64_t forget_by;    /* BINDING_MODE_FORGET: when to give up waiting, ms */
	uint32_t forget_wait;  /* and the present wait between two looks, ms */
	uint32_t name;         /* entry in the registry + 1 that is held by this, or 0 */
	uint32_t asked;        /* entry + 1 that a CONNECT over this was about, or 0 */
	uint16_t hold_seconds; /* BINDING_MODE_HOLD: the client's interval; WAIT: how long */
	uint16_t partial_size; /* bytes of a begun request at tcp_table_partial() */
	uint16_t header_size;  /* bytes of HTTP headers so far */
	uint8_t phase;         /* enum tcp_phase */
	uint8_t mode;          /* enum binding_mode, of the last answer */
	uint8_t header_state;  /* of first_bytes_skip_headers() */
	bool head_only;        /* HEAD */
	bool held;
	bool paused;    /* not read for a while: its source has asked too often */
	uint8_t ending; /* why it is over: from COUNTER_ENDED_DONE (counters.h) */
};

struct tcp_table {
	struct tcp_connection *connections;
	uint8_t *partials; /* untouched, so without real memory, until a request comes in pieces */
	struct timer_heap_entry *entries;
	struct timer_heap deadlines;
	uint32_t capacity;
	uint32_t fresh; /* slots from here on were never used */
	uint32_t free;  /* first of the free slots below that */
	uint32_t used;
	uint32_t held;      /* how many are */
	uint32_t looked_at; /* counts slots: where to look next for one that is dead */
	uint64_t unheld;    /* counter: asked to be held and were not, or not any longer */
	struct source_table passing;
	struct source_table passing_sites; /* the same, by the site of their source, besides */
	struct source_table holding;
	struct source_table sites;   /* those that are held, by the site of their source, besides */
	struct source_table waiting; /* those that are paused, besides */
	void *tables_memory;         /* their memory */
};

/* capacity is 1 to 2^24. Returns 0, or -1 when there is no memory for it. */
int tcp_table_open(struct tcp_table *table, uint32_t capacity);

/* Closes the descriptors that are left and frees the memory. */
void tcp_table_close(struct tcp_table *table);

/*
 * Puts a connection into a free slot, as its source's youngest, without a deadline; the descriptor
 * is the table's from then on. Returns the slot, or TCP_TABLE_NONE when all are taken.
 */
uint32_t tcp_table_take(struct tcp_table *table, int fd, const struct addr *peer);

/* Frees the slot and its deadline. The descriptor must have been closed. */
void tcp_table_release(struct tcp_table *table, uint32_t slot);

/*
 * The connection to end to make room for one of `newcomer`, or TCP_TABLE_NONE when all are held.
 */
uint32_t tcp_table_victim(const struct tcp_table *table, const struct addr *newcomer);

/* How many can be held at once. */
uint32_t tcp_table_hold_max(const struct tcp_table *table);

/*
 * Begins or ends to hold the slot; then it is its source's youngest. Twice is the same as once.
 * When no more can be held the slot may stay as it is: it works like a held one until room is
 * needed.
 */
void tcp_table_hold(struct tcp_table *table, uint32_t slot, bool held);

/* Notes whether the slot waits for its turn among those of its source. Twice is the same as once.
 */
void tcp_table_pause(struct tcp_table *table, uint32_t slot, bool paused);

/* How many of that source do. */
uint32_t tcp_table_waiting(const struct tcp_table *table, const struct addr *source);

/* Where the slot keeps a request that is not complete: STUN_MESSAGE_MAX bytes. */
uint8_t *tcp_table_partial(struct tcp_table *table, uint32_t slot);

#endif
