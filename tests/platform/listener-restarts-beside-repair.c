/*
 * Fact: while a connection made by repair mode lives, or its TIME_WAIT, the listener on the same
 * port can be restarted only if the connection's socket was given SO_REUSEADDR after repair was
 * off.
 *
 * Leaving repair mode takes all reuse away from the socket, whatever it had before. A listener that
 * starts anew then finds the port in use although it has SO_REUSEADDR itself: both must have it.
 */
#include "platform.h"

/* Restarts the listener. Returns 0 or the errno of its bind. */
static int restart(int family, int *listener)
{
	close(*listener);
	return try_listen(family, HOME_PORT, listener);
}

/* Makes a repair connection from the listener's port, with SO_REUSEADDR set at the end or not. */
static int connect_by_repair(int family, int far_listener, bool reuse, int *far)
{
	union address far_address = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	int fd = repair_bind(family, HOME_PORT);

	is_int(option_get(fd, SOL_SOCKET, SO_REUSEADDR), 0,
		"%s: out of repair mode a socket has no SO_REUSEADDR", family_name(family));
	if (reuse)
		option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	is_errno(try_connect(fd, &far_address), 0, "%s: connect by repair %s SO_REUSEADDR",
		family_name(family), reuse ? "with" : "without");
	*far = accept_from(far_listener, NULL);
	if (*far < 0)
		bail_out("the far end did not accept: %s", strerror(errno));
	return fd;
}

static void check_family(const int places[PLACES], int family)
{
	const char *name = family_name(family);
	int listener = must_listen(family, HOME_PORT);
	int far_listener;
	int far;
	int fd;
	char byte;

	place_enter(places, OUTSIDE);
	far_listener = must_listen(family, OUTSIDE_PORT);
	place_enter(places, HOME);

	fd = connect_by_repair(family, far_listener, false, &far);
	is_errno(restart(family, &listener), EADDRINUSE, "%s: the listener cannot come back", name);
	option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	is_errno(try_listen(family, HOME_PORT, &listener), 0,
		"%s: but can once the connection has SO_REUSEADDR", name);
	close_by_reset(fd);
	close(far);

	fd = connect_by_repair(family, far_listener, true, &far);
	is_errno(restart(family, &listener), 0,
		"%s: with SO_REUSEADDR from the start the listener comes back", name);
	ok(byte_passes(fd, far) && byte_passes(far, fd), "%s: and the connection lives on", name);

	/* Closed first on our side, so that TIME_WAIT is ours; the far end's FIN completes it. */
	shutdown(fd, SHUT_WR);
	is_int(recv(far, &byte, 1, 0), 0, "%s: the connection closes", name);
	close(far);
	is_int(recv(fd, &byte, 1, 0), 0, "%s: in order", name);
	close(fd);
	is_errno(restart(family, &listener), 0, "%s: a listener comes back beside its TIME_WAIT",
		name);
	close(listener);
	close(far_listener);
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	check_family(places, AF_INET);
	check_family(places, AF_INET6);
	return done_testing();
}
