#include "natpunch/client/hint_command.h"

#include <stdio.h>

#include "natpunch/base/text.h"

const char *hint_command_format(
	const char *words, const struct mapping_race_request *request, char out[HINT_COMMAND_SIZE])
{
	bool udp = request->protocol == MAPPING_UDP;
	size_t count = request->must_agree ? 0 : request->reflector_count;
	char text[HOST_PORT_TEXT_SIZE];
	char quoted[4 * HOST_PORT_TEXT_SIZE];
	char family[16] = "", port[16] = "";
	int used;

	if (request->family != ADDR_NONE)
		snprintf(family, sizeof(family), " -%d", (int)request->family);
	if (request->local.port != 22 || udp)
		snprintf(port, sizeof(port), " -p %u", request->local.port);
	used = snprintf(
		out, HINT_COMMAND_SIZE, "natpunch %s%s%s%s", words, family, udp ? " -u" : "", port);
	for (size_t i = 0; i < count && used < HINT_COMMAND_SIZE; i++) {
		int more;

		host_port_format(&request->reflectors[i], text);
		text_escape_shell(quoted, sizeof(quoted), text);
		more = snprintf(out + used, HINT_COMMAND_SIZE - (size_t)used, " -r %s", quoted);
		if (used + more >= HINT_COMMAND_SIZE)
			out[used] = '\0';
		else
			used += more;
	}
	return out;
}
