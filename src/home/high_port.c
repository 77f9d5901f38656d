#include "home/high_port.h"

#include "natpunch/home/handover.h"
#include "natpunch/os/port_owner.h"

/*
 * A listener that shares the port with another one (SO_REUSEPORT) gets only half of the
 * connections.
 */
static bool is_taken(uint16_t port)
{
	struct port_owner owner;

	return port_owner_find_again(MAPPING_TCP, ADDR_NONE, port, NULL, &owner) == 0 &&
	       owner.listens;
}

int high_port_listen(
	const struct mapping_race_request *request, uint16_t *port, struct error *error)
{
	struct addr local = request->local;
	uint16_t first = *port;

	local.family = ADDR_IPV4;
	error_set(error, EXIT_STATUS_LOCAL, "ports %u to %u are taken", first,
		first + HIGH_PORT_TRIES - 1);
	for (uint16_t i = 0; i < HIGH_PORT_TRIES; i++) {
		int fd;

		local.port = (uint16_t)(first + i);
		if (local.port < first || is_taken(local.port))
			continue;
		fd = handover_listen(&local, request->interface, error);
		if (fd < 0)
			continue;
		*port = local.port;
		return fd;
	}
	return -1;
}
