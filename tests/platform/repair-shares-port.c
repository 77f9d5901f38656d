/*
 * Fact: a socket bound in TCP_REPAIR mode shares the port of a listener that knows nothing of it.
 *
 * Repair mode forces the reuse of the address for the bind that follows. Repair off again,
 * connect(2) is an ordinary one: the far end sees the listener's port as the source, and the
 * listener goes on accepting. The kernel's table of connections is the arbiter: where an inbound
 * connection has the four-tuple already, connect(2) fails with EADDRNOTAVAIL before a packet
 * leaves. It takes CAP_NET_ADMIN.
 */
#include "platform.h"

#include <sys/wait.h>

static void check_outbound(int family, int listener, int far_listener)
{
	union address far_address = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	union address seen = address_of(family, NULL, 0);
	int fd = repair_bind(family, HOME_PORT);
	int far;

	if (!is_errno(try_connect(fd, &far_address), 0, "%s: connect from the listener's port",
		    family_name(family)))
		return;
	far = accept_from(far_listener, &seen);
	ok(far >= 0, "%s: the far end accepts", family_name(family));
	is_uint(address_port(&seen), HOME_PORT, "%s: and sees port %d", family_name(family),
		HOME_PORT);
	ok(byte_passes(fd, far) && byte_passes(far, fd), "%s: bytes pass both ways",
		family_name(family));
	is_int(option_get(listener, SOL_SOCKET, SO_ACCEPTCONN), 1, "%s: the listener still listens",
		family_name(family));
	close(far);
	close(fd);
}

/* Has OUTSIDE connect from OUTSIDE_PORT to the listener. Returns the socket at OUTSIDE. */
static int connect_inbound(const int places[PLACES], int family)
{
	union address home = address_of_place(family, HOME, HOME_PORT);
	union address source = address_of(family, NULL, OUTSIDE_PORT + 1);
	int fd;

	place_enter(places, OUTSIDE);
	fd = tcp_socket(family);
	place_enter(places, HOME);
	option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (try_bind(fd, &source) != 0)
		bail_out("bind at OUTSIDE: %s", strerror(errno));
	is_errno(try_connect(fd, &home), 0, "%s: OUTSIDE connects to the listener",
		family_name(family));
	return fd;
}

static void check_arbiter(const int places[PLACES], int family, int listener)
{
	union address same = address_of_place(family, OUTSIDE, OUTSIDE_PORT + 1);
	int bystander = repair_bind(family, HOME_PORT);
	int inbound = connect_inbound(places, family);
	int accepted = accept_from(listener, NULL);
	long long sent = counter("Tcp", "OutSegs");

	ok(accepted >= 0, "%s: and the listener accepts, with a repair socket on its port",
		family_name(family));
	is_errno(try_connect(bystander, &same), EADDRNOTAVAIL,
		"%s: connect on the four-tuple of an inbound connection is refused",
		family_name(family));
	is_int(counter("Tcp", "OutSegs") - sent, 0, "%s: before a segment leaves",
		family_name(family));
	ok(byte_passes(inbound, accepted) && byte_passes(accepted, inbound),
		"%s: and the inbound connection lives on", family_name(family));
	close(inbound);
	close(accepted);
	close(bystander);
}

/* Enters repair mode as nobody. Returns 0 or the errno. */
static int repair_unprivileged(void)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		bail_out("fork: %s", strerror(errno));
	if (child == 0) {
		int on = TCP_REPAIR_ON;
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || setuid(65534) != 0)
			_exit(255);
		_exit(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) == 0 ? 0 : errno);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		bail_out("a child failed");
	return WEXITSTATUS(status);
}

static void check_family(const int places[PLACES], int family)
{
	int listener = must_listen(family, HOME_PORT);
	int far_listener;

	place_enter(places, OUTSIDE);
	far_listener = must_listen(family, OUTSIDE_PORT);
	place_enter(places, HOME);
	check_outbound(family, listener, far_listener);
	check_arbiter(places, family, listener);
	close(far_listener);
	close(listener);
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	check_family(places, AF_INET);
	check_family(places, AF_INET6);
	is_errno(repair_unprivileged(), EPERM, "without CAP_NET_ADMIN there is no repair mode");
	return done_testing();
}
