/*
 * Fact: after a close that our side began, the next connect(2) from the same port to the same far
 * end fails with EADDRNOTAVAIL while TIME_WAIT lasts, unless the path has TCP timestamps.
 *
 * A probe from a fixed port to a fixed reflector is the same four-tuple every time. With timestamps
 * (RFC 7323) the kernel can tell old segments from new ones and lets a TIME_WAIT be reused; a path
 * may strip them. A silent close leaves no TIME_WAIT, and neither does a close that the far end
 * begins.
 */
#include "platform.h"

enum closing {
	WE_FIRST,
	FAR_FIRST,
	SILENT
};

static const char *const closing_name[] = {
	[WE_FIRST] = "our side closed first",
	[FAR_FIRST] = "the far end closed first",
	[SILENT] = "a silent close",
};

/* Closes first one end, then the other, each having seen the other's FIN. */
static void close_in_order(int first, int second)
{
	char byte;

	shutdown(first, SHUT_WR);
	if (recv(second, &byte, 1, 0) != 0)
		bail_out("no FIN came");
	close(second);
	if (recv(first, &byte, 1, 0) != 0)
		bail_out("no FIN came back");
	close(first);
}

/* Connects, closes as told and connects again. Returns 0 or the errno of the second connect(2). */
static int reconnect_after(int family, uint16_t port, int far_listener, enum closing closing)
{
	union address far_address = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	int near = repair_bind(family, port);
	int error = try_connect(near, &far_address);
	int far = accept_from(far_listener, NULL);

	if (error != 0 || far < 0)
		bail_out("the first connect: %s", strerror(error != 0 ? error : errno));
	if (closing == WE_FIRST) {
		close_in_order(near, far);
	} else if (closing == FAR_FIRST) {
		close_in_order(far, near);
	} else {
		close_silently(near);
		close_silently(far);
	}

	near = repair_bind(family, port);
	error = try_connect(near, &far_address);
	if (error == 0) {
		far = accept_from(far_listener, NULL);
		if (far < 0)
			bail_out("the second connection was not accepted");
		close_silently(far);
	}
	close_silently(near);
	return error;
}

static void check_family(const int places[PLACES], int family)
{
	const char *name = family_name(family);
	uint16_t port = HOME_PORT;
	int far_listener;

	place_enter(places, OUTSIDE);
	far_listener = must_listen(family, OUTSIDE_PORT);
	place_enter(places, HOME);
	for (int timestamps = 0; timestamps <= 1; timestamps++) {
		sysctl_set("ipv4/tcp_timestamps", timestamps ? "1" : "0");
		for (enum closing closing = WE_FIRST; closing <= SILENT; closing++) {
			/* A port of its own each time, so that no case sees what another left. */
			int error = reconnect_after(family, port++, far_listener, closing);
			bool blocked = closing == WE_FIRST && !timestamps;

			is_errno(error, blocked ? EADDRNOTAVAIL : 0,
				"%s, %s timestamps, %s: the same connect again %s", name,
				timestamps ? "with" : "without", closing_name[closing],
				blocked ? "is refused" : "works");
		}
	}
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
