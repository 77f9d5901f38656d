/*
 * hint_command.h - the command that a hint tells a person to run, with the options that were given,
 * so that it works when it is pasted.
 */
#ifndef NATPUNCH_CLIENT_HINT_COMMAND_H
#define NATPUNCH_CLIENT_HINT_COMMAND_H

#include "natpunch/client/mapping_race.h"

#define HINT_COMMAND_SIZE 128 /* beside as many bytes of text in the hint of struct error */

/*
 * Writes "natpunch WORDS" with the family, the protocol, the port and the reflectors of the
 * request, as a shell takes them. Reflectors that do not fit are left out, and so are public
 * servers, which are the default. Returns out.
 */
const char *hint_command_format(
	const char *words, const struct mapping_race_request *request, char out[HINT_COMMAND_SIZE]);

#endif
