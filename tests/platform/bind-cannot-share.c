/*
 * Fact: with a listener such as sshd on the wildcard address, bind(2) to its port fails with
 * EADDRINUSE for every combination of SO_REUSEADDR, SO_REUSEPORT, SO_BINDTODEVICE and address.
 *
 * Were it otherwise on some kernel, method `bind` alone would do. Reuse needs the consent of every
 * socket on the port: SO_REUSEADDR does not help while one of them listens, and sshd does not set
 * SO_REUSEPORT.
 */
#include "platform.h"

/* Binds a new socket to the port with the options given. Returns 0 or the errno of bind(2). */
static int bind_with(int family, const char *text, uint16_t port, bool address_reuse,
	bool port_reuse, bool device)
{
	union address address = address_of(family, text, port);
	int fd = tcp_socket(family);
	int error;

	option_set(fd, SOL_SOCKET, SO_REUSEADDR, address_reuse);
	option_set(fd, SOL_SOCKET, SO_REUSEPORT, port_reuse);
	if (device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "wan", 4) != 0)
		bail_out("SO_BINDTODEVICE: %s", strerror(errno));
	if (family == AF_INET6)
		option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	error = try_bind(fd, &address);
	close(fd);
	return error;
}

static void check_family(int family)
{
	const char *const texts[] = {NULL, place_address[HOME][family == AF_INET6]};
	int listener = must_listen(family, HOME_PORT);

	for (unsigned int i = 0; i < 16; i++) {
		bool address_reuse = i & 1;
		bool port_reuse = i & 2;
		bool device = i & 4;
		const char *text = texts[i >> 3];

		is_errno(bind_with(family, text, HOME_PORT, address_reuse, port_reuse, device),
			EADDRINUSE, "%s: bind to %s port %d%s%s%s finds it in use",
			family_name(family), text != NULL ? text : "any address,", HOME_PORT,
			address_reuse ? ", SO_REUSEADDR" : "", port_reuse ? ", SO_REUSEPORT" : "",
			device ? ", SO_BINDTODEVICE" : "");
		is_errno(bind_with(family, text, HOME_PORT + 1, address_reuse, port_reuse, device),
			0, "%s: the same to a port where nobody listens works",
			family_name(family));
	}
	close(listener);
	is_errno(bind_with(family, NULL, HOME_PORT, false, false, false), 0,
		"%s: once the listener is gone the port is free", family_name(family));
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	check_family(AF_INET);
	check_family(AF_INET6);
	return done_testing();
}
