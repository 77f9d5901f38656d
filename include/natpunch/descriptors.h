/*
 * descriptors.h - how many files and sockets this process may have open.
 */
#ifndef NATPUNCH_DESCRIPTORS_H
#define NATPUNCH_DESCRIPTORS_H

#include <stdint.h>

/*
 * Raises RLIMIT_NOFILE so that `wanted` descriptors can be open at once: the soft limit up to the
 * hard one, and the hard one too where the kernel allows it. Never lowers it. Returns the limit
 * that holds now, which may be less than wanted.
 */
uint64_t descriptors_reserve(uint64_t wanted);

#endif
