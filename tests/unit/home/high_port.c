/* Which port is listened on in the place of a low one: never one where somebody else does. */
#include "home/high_port.h"

#include "natpunch/home/handover.h"
#include "unit/server.h"

static int listen_on(struct mapping_race_request *request, uint16_t *port)
{
	struct error error;
	int fd = high_port_listen(request, port, &error);

	if (fd < 0)
		ok(error.status == EXIT_STATUS_LOCAL && error.text[0] != '\0', "it says why");
	return fd;
}

static uint16_t port_of(int fd)
{
	struct addr local;

	if (socket_local(fd, &local) != 0)
		bail_out("no address");
	return local.port;
}

int main(void)
{
	struct mapping_race_request request = {.protocol = MAPPING_TCP, .local = {.port = 22}};
	uint16_t port = 2222;
	int fds[HIGH_PORT_TRIES];

	network_enter();
	for (size_t i = 0; i < HIGH_PORT_TRIES; i++) {
		port = 2222;
		fds[i] = listen_on(&request, &port);
		ok(fds[i] >= 0, "there is one");
		is_uint(port, 2222 + i, "the next that is free");
		is_uint(port_of(fds[i]), port, "which it listens on");
	}
	is_uint(request.local.port, 22, "the request stays as it is");
	port = 2222;
	is_int(listen_on(&request, &port), -1, "all of them are taken");
	port = 65530;
	for (size_t i = 0; i < 6; i++) {
		fds[i] = listen_on(&request, &port);
		port = 65530;
	}
	is_uint(port_of(fds[5]), 65535, "up to the last port");
	is_int(listen_on(&request, &port), -1, "and no further");
	return done_testing();
}
