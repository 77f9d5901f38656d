/*
 * descriptors.h - how many files and sockets this process may have open, and who gets them.
 */
#ifndef NATPUNCH_OS_DESCRIPTORS_H
#define NATPUNCH_OS_DESCRIPTORS_H

#include <stdint.h>

/*
 * Raises RLIMIT_NOFILE so that `wanted` descriptors can be open at once: the soft limit up to the
 * hard one, and the hard one too where the kernel allows it. Never lowers it. Returns the limit
 * that holds now, which may be less than wanted.
 */
uint64_t descriptors_reserve(uint64_t wanted);

/*
 * In a child, before exec, or at the start of a process that wants none: closes every descriptor
 * from `first` (3 or more) up but `keep` (-1: none), whoever opened it and whatever its flags say.
 */
void descriptors_close_from(int first, int keep);

#endif
