/*
 * parallel.h - runs a part of the work at the same time in a copy of this process.
 *
 * For work that blocks. The copy is a child (fork(2)); its result comes back through a pipe. When
 * the parent ends, for whatever reason, so does the copy.
 */
#ifndef NATPUNCH_OS_PARALLEL_H
#define NATPUNCH_OS_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct parallel {
	pid_t pid;  /* of the copy; 0: there is none */
	int result; /* what it found comes here */
	int hold;   /* the copy goes on while this is open */
};

/* No copy: what parallel_finish() leaves behind and may be called with. */
#define PARALLEL_NONE ((struct parallel){.pid = 0, .result = -1, .hold = -1})

/*
 * Has a copy of this process run work(context, stop), which fills in the `size` bytes at `out`:
 * they are what parallel_finish() gives. Standard input and output are /dev/null there. When it is
 * to end, SIGIO ends it; work that ignores this signal finds `stop` readable then.
 *
 * Returns 0, or -1 with *parallel PARALLEL_NONE. Call it before this process is confined.
 */
int parallel_start(struct parallel *parallel, void (*work)(void *context, int stop), void *context,
	const void *out, size_t size);

/*
 * Waits for the copy, and takes what it found. Once `stop` (-1: none) is readable, the copy is told
 * to end. Returns false, with *out undefined, when it found nothing or there was none.
 */
bool parallel_finish(struct parallel *parallel, int stop, void *out, size_t size);

#endif
