#include "client/own_hosts.h"

#include "natpunch/os/socket_linux.h"

void own_hosts_add(struct name_question *question, const struct mapping *mapping)
{
	struct addr found[NAME_MESSAGE_HOST_MAX];
	size_t count = socket_addresses_beside(&mapping->local, found, NAME_MESSAGE_HOST_MAX);

	question->host_count = 0;
	for (size_t i = 0; i < count; i++) {
		found[i].port = mapping->local.port;
		if (!addr_equal(&found[i], &mapping->public_addr))
			question->hosts[question->host_count++] = found[i];
	}
}
