/*
 * program.h - can a file be executed, and if not, why?
 *
 * execv(3) says "No such file or directory" of a script whose interpreter is missing, too.
 */
#ifndef NATPUNCH_OS_PROGRAM_H
#define NATPUNCH_OS_PROGRAM_H

#include "natpunch/base/error.h"

#define PROGRAM_REASON_SIZE 192

/*
 * Why execv(3) failed with the errno value `problem`: in its words, or "its interpreter /bin/x is
 * not there", or "its first line ends in CR, where LF alone must be". Returns out.
 */
const char *program_explain(const char *path, int problem, char out[PROGRAM_REASON_SIZE]);

/*
 * Finds out beforehand what would fail for sure. Returns 0, or -1 with *error filled
 * (EXIT_STATUS_LOCAL): "cannot run KIND PATH: WHY"; `kind` ends in a blank, or is "".
 */
int program_check(const char *kind, const char *path, struct error *error);

#endif
