/*
 * Fact: a connection closed in repair mode sends neither FIN nor RST, and the NAT keeps its mapping
 * as that of an established connection; every other way of closing cuts the mapping's life short.
 *
 * The life that is left decides how often a probe without a daemon must run. RFC 5382, REQ-5 asks
 * for at least 2 h 4 min for an established connection and 4 min for a closing one; Linux gives
 * five days and two minutes. It holds only while the far end is silent as well: its FIN ends the
 * mapping.
 *
 * The next probe from the same port to the same far end finds the mapping still there and is given
 * the same one. It is as quick as the first if the far end has forgotten the connection silently.
 */
#include "platform.h"

#define ESTABLISHED_AT_LEAST (2 * 3600 + 4 * 60)

struct connection {
	int near;
	int far;
};

/* Connects from HOME_PORT by repair; returns both ends. */
static struct connection connect_through_nat(int family, int far_listener)
{
	union address far_address = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	struct connection connection = {.near = repair_bind(family, HOME_PORT)};
	int error = try_connect(connection.near, &far_address);

	if (error != 0)
		bail_out("connect: %s", strerror(error));
	connection.far = accept_from(far_listener, NULL);
	if (connection.far < 0)
		bail_out("accept: %s", strerror(errno));
	return connection;
}

static void check_silent_close(const int places[PLACES], int family, int far_listener)
{
	const char *name = family_name(family);
	struct connection connection = connect_through_nat(family, far_listener);
	struct entry first = entry_find(places, family, HOME_PORT);
	struct entry entry;
	long long sent = counter("Tcp", "OutSegs");
	struct timespec start;
	struct timespec end;

	is_str(first.state, "ESTABLISHED", "%s: the NAT has the connection", name);
	close_silently(connection.near);
	is_int(counter("Tcp", "OutSegs") - sent, 0, "%s: a silent close sends nothing", name);
	close_silently(connection.far);
	entry = entry_find(places, family, HOME_PORT);
	is_str(entry.state, "ESTABLISHED", "%s: after it the NAT has it as before", name);
	ok(entry.seconds >= ESTABLISHED_AT_LEAST, "%s: for two hours and four minutes or more",
		name);
	diag("%s: the mapping has %u s to live", name, entry.seconds);

	clock_gettime(CLOCK_MONOTONIC, &start);
	connection = connect_through_nat(family, far_listener);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(end.tv_sec - start.tv_sec < 1 ||
			(end.tv_sec - start.tv_sec == 1 && end.tv_nsec < start.tv_nsec),
		"%s: the same connection anew needs no second SYN", name);
	ok(byte_passes(connection.near, connection.far) &&
			byte_passes(connection.far, connection.near),
		"%s: works", name);
	entry = entry_find(places, family, HOME_PORT);
	is_uint(entry.port, first.port, "%s: has the same public port", name);
	is_str(entry.state, "ESTABLISHED", "%s: and is established for the NAT", name);
	ok(entry.seconds >= ESTABLISHED_AT_LEAST, "%s: with a life as long", name);
	close_silently(connection.near);
	close_by_reset(connection.far);
}

static void check_orderly_close(const int places[PLACES], int family, int far_listener)
{
	const char *name = family_name(family);
	struct connection connection = connect_through_nat(family, far_listener);
	struct entry entry;
	char byte;

	shutdown(connection.near, SHUT_WR);
	is_int(recv(connection.far, &byte, 1, 0), 0, "%s: an orderly close", name);
	close(connection.far);
	is_int(recv(connection.near, &byte, 1, 0), 0, "%s: from both ends", name);
	close(connection.near);
	entry = entry_find(places, family, HOME_PORT);
	is_str(entry.state, "TIME_WAIT", "%s: leaves the NAT a mapping in TIME_WAIT", name);
	ok(entry.seconds < ESTABLISHED_AT_LEAST, "%s: that ends early", name);
	diag("%s: the mapping has %u s to live", name, entry.seconds);
}

static void check_far_close(const int places[PLACES], int family, int far_listener)
{
	const char *name = family_name(family);
	struct connection connection = connect_through_nat(family, far_listener);
	struct entry entry;

	close_silently(connection.near);
	close(connection.far);
	entry = entry_find(places, family, HOME_PORT);
	ok(strcmp(entry.state, "none") != 0 && strcmp(entry.state, "ESTABLISHED") != 0,
		"%s: a FIN from the far end undoes a silent close: %s", name, entry.state);
	ok(entry.seconds < ESTABLISHED_AT_LEAST, "%s: the mapping ends early", name);
	diag("%s: the mapping has %u s to live", name, entry.seconds);
}

static void check_family(const int places[PLACES], int family)
{
	int listener = must_listen(family, HOME_PORT);
	int far_listener;

	place_enter(places, OUTSIDE);
	far_listener = must_listen(family, OUTSIDE_PORT);
	place_enter(places, HOME);
	check_silent_close(places, family, far_listener);
	check_orderly_close(places, family, far_listener);
	check_far_close(places, family, far_listener);
	close(far_listener);
	close(listener);
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	places_add_nat(places);
	check_family(places, AF_INET);
	check_family(places, AF_INET6);
	return done_testing();
}
