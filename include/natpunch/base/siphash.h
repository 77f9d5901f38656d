/*
 * siphash.h - SipHash-2-4 (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012), for tables
 * that strangers write to: without the key nobody can tell which entries fall together.
 */
#ifndef NATPUNCH_BASE_SIPHASH_H
#define NATPUNCH_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_SIZE 16

uint64_t siphash(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size);

#endif
