/*
 * descriptors.h - raises the limit of open files, and closes inherited descriptors.
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
 * Closes every descriptor from `first` (3 or more) up, except `keep` (-1: none), whatever its flags
 * say. For a child before exec, or a process at its start.
 */
void descriptors_close_from(int first, int keep);

#endif
