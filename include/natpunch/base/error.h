/*
 * error.h - an error as a value.
 *
 * The rooms below cmd fill one in and return -1; only a subcommand prints it. The status is the
 * exit code of the process, unless the subcommand goes on.
 */
#ifndef NATPUNCH_BASE_ERROR_H
#define NATPUNCH_BASE_ERROR_H

/* Exit codes, a contract with scripts; natpunch(1) lists them. */
enum exit_status {
	EXIT_STATUS_DONE = 0,
	EXIT_STATUS_NETWORK = 1,     /* the network said no, or nothing in time */
	EXIT_STATUS_USAGE = 2,       /* the command line is wrong */
	EXIT_STATUS_LOCAL = 3,       /* this machine refused: privilege, port busy, no route */
	EXIT_STATUS_PEER = 4,        /* the peer spoke badly: what came was not an answer */
	EXIT_STATUS_UNREACHABLE = 5, /* a mapping exists, but strangers do not get through it */
	EXIT_STATUS_BUG = 70,        /* an assertion failed */
};

struct error {
	enum exit_status status;
	char text[256]; /* one line, lower case, names its subject, no full stop, no newline */
	char hint[256]; /* what to do about it, or "" */
};

/*
 * Fills in *error (hint emptied) and returns -1, so that a caller can `return error_set(...)`.
 * The text is cut at the size of the field; bytes from outside must be escaped before (text.h).
 */
int error_set(struct error *error, enum exit_status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Adds the hint line to an error that error_set() filled in. Returns -1 as well. */
int error_hint(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
