/*
 * loop.h - epoll with tags instead of pointers.
 *
 * Each descriptor has a tag {kind, slot, generation} in epoll's 64 bits. Its owner raises the
 * generation when it uses a slot again, so that an old event, still in the batch from the kernel,
 * is recognised and dropped: nothing can dangle.
 */
#ifndef NATPUNCH_OS_LOOP_H
#define NATPUNCH_OS_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "natpunch/os/sandbox.h"

struct loop_tag {
	uint8_t kind;  /* the owner's own enum */
	uint32_t slot; /* 24 bits are kept */
	uint32_t generation;
};

struct loop_event {
	struct loop_tag tag;
	uint32_t events; /* EPOLLIN, ... */
};

#define LOOP_BATCH 64

extern const struct sandbox_call loop_calls[]; /* once it is open */

struct loop {
	int fd;
};

/* Each returns 0, or -1 and errno. */
int loop_open(struct loop *loop);
void loop_close(struct loop *loop);
int loop_add(struct loop *loop, int fd, uint32_t events, struct loop_tag tag);
int loop_change(struct loop *loop, int fd, uint32_t events, struct loop_tag tag);
int loop_remove(struct loop *loop, int fd);

/*
 * Waits until something happens or `timeout_ms` have passed (-1: for ever). Returns the number of
 * events in out; 0 after a timeout or a signal; -1 and errno on a bug.
 */
int loop_wait(struct loop *loop, struct loop_event out[LOOP_BATCH], int timeout_ms);

#endif
