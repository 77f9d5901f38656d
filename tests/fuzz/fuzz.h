/*
 * What the fuzz harnesses share. A harness is one function; libFuzzer calls it with what it makes
 * up, replay.c with the files of the corpus.
 */
#ifndef NATPUNCH_TESTS_FUZZ_H
#define NATPUNCH_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process loudly when something does not hold, which is what a fuzzer looks for. */
#define fuzz_check(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
