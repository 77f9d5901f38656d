/*
 * A flood from where the reflector is: the session takes its measure, and lets the rest wait. The
 * clock is the test's own.
 */
#include "connect/udp_session.h"

#include "unit/server.h"

#define START 1000000
#define FLOOD (UDP_SESSION_RECEIVE_MAX + 36)
#define PORT  3478

static const struct key key = {.name = "home", .secret = {1, 2, 3}};
static struct udp_session session;

/* A socket that is connected to the other one's address. */
static int open_end(uint16_t own, uint16_t other)
{
	const struct addr local = address("127.0.0.1", own);
	const struct addr remote = address("127.0.0.1", other);
	int fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);

	if (fd < 0 || socket_bind(fd, &local) != 0 || socket_connect(fd, &remote) != 0)
		bail_out("socket: %s", strerror(errno));
	return fd;
}

static unsigned count_waiting(int fd)
{
	uint8_t byte;
	unsigned count = 0;

	while (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) >= 0)
		count++;
	return count;
}

int main(void)
{
	struct mapping_race_result result = {.mapping = {.reflector = "here"}};
	int here, reflector;

	network_enter();
	here = open_end(5000, PORT);
	reflector = open_end(PORT, 5000);
	result.mapping.public_addr = address("127.0.0.1", 5000);
	result.winner.port = (struct borrowed){
		.method = &borrow_method_bind, .kind = BORROW_DATAGRAM, .fd = here, .guard = -1};
	udp_session_start(&session, &result, &key, START);
	is_int(session.state, UDP_SESSION_ASKING, "it asks");
	is_uint(count_waiting(reflector), 1, "at once");
	for (unsigned i = 0; i < FLOOD; i++)
		if (send(reflector, "x", 1, 0) != 1)
			bail_out("send: %s", strerror(errno));
	udp_session_advance(&session, START + 1);
	is_int(session.state, UDP_SESSION_ASKING, "what is no answer decides nothing");
	is_uint(count_waiting(here), FLOOD - UDP_SESSION_RECEIVE_MAX,
		"of a flood it takes its measure at once");
	udp_session_advance(&session, START + NAME_CLIENT_RTO_MS);
	is_uint(count_waiting(reflector), 1, "without an answer it asks again");
	udp_session_end(&session);
	is_int(udp_session_fd(&session), -1, "it ends");
	close(reflector);
	return done_testing();
}
