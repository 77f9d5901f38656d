/*
 * common_options.h - the options that mean the same in every command that has them: -r, -t, -4, -6,
 * -q, -v, -h and --mark. The command's table says which of them it has.
 */
#ifndef NATPUNCH_CMD_COMMON_OPTIONS_H
#define NATPUNCH_CMD_COMMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/error.h"
#include "natpunch/client/reflector_list.h"
#include "natpunch/cmd/command.h"

/* Above the codes of each command's own. */
#define COMMON_OPTION_MARK (OPTION_LONG_ONLY + 64)

struct mapping_race_request;

struct common_options {
	struct reflector_list reflectors; /* -r */
	uint64_t timeout_ms;              /* -t; before, the command's default */
	enum addr_family family;          /* -4, -6, or ADDR_NONE for both; once it is settled */
	uint32_t mark;                    /* --mark, or 0 */
	bool ipv4;
	bool ipv6;
	bool takes_both; /* set by the command: -4 and -6 may stand together, for one of each */
	bool quiet;
	bool verbose;
	bool help; /* -h: nothing else needs to be checked */
};

/*
 * option_next() for a command's own options: takes those above by itself. -h ends the options, with
 * `help` set. Texts stay the caller's argv.
 */
int common_options_next(
	struct common_options *common, struct option_reader *reader, struct error *error);

/*
 * After the last option: sets the family, and how much is logged. Returns 0, or -1 with *error
 * filled (EXIT_STATUS_USAGE): two of them exclude each other.
 */
int common_options_settle(struct common_options *common, struct error *error);

/* Marks all sockets from here on. Returns 0, or -1 with *error filled (EXIT_STATUS_LOCAL). */
int common_options_mark(const struct common_options *common, struct error *error);

/* Sets reflectors, family and timeout of the request. *common must outlive it. */
void common_options_fill(const struct common_options *common, struct mapping_race_request *request);

/* To standard output: all the reflectors as a shell takes them, each with a blank and -r before it.
 */
void common_options_print_reflectors(const struct common_options *common);

#endif
