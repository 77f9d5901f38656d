#include "natpunch/client/udp_arrivals.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/packet.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/tap.h"
#include "natpunch/proto/segment.h"

#define DATAGRAM_MAX 65536
#define RECEIVE_MAX  64 /* datagrams at once; the rest has its turn at the next poll(2) */

/* A socket that has the port beside one of our own that is connected. */
static int bind_port(const struct addr *local)
{
	int fd = socket_open((enum addr_family)local->family, SOCK_DGRAM, 0);
	int saved;

	if (fd < 0)
		return -1;
	if (socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0 && socket_bind(fd, local) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int udp_arrivals_open(struct udp_arrivals *arrivals, const struct addr *local)
{
	const struct packet_filter filter = {.destinations = {local->port}, .destination_count = 1};
	enum addr_family family = (enum addr_family)local->family;
	int problem;

	memset(arrivals, 0, sizeof(*arrivals));
	arrivals->local = *local;
	arrivals->tap = tap_open(family, MAPPING_UDP, local->port);
	arrivals->socket = packet_open(family, MAPPING_UDP, &filter);
	arrivals->raw = arrivals->socket >= 0;
	if (arrivals->raw)
		return 0;
	problem = errno;
	arrivals->socket = bind_port(local);
	errno = problem;
	return arrivals->socket >= 0 ? 0 : -1;
}

struct udp_arrival *udp_arrivals_expect(
	struct udp_arrivals *arrivals, const struct binding_request *question)
{
	struct udp_arrival *arrival = &arrivals->expected[arrivals->count];

	if (arrivals->count == UDP_ARRIVALS_MAX)
		return NULL;
	arrivals->count++;
	*arrival = (struct udp_arrival){.question = *question};
	return arrival;
}

/* Returns whether it answers one of the questions. */
static bool judge(struct udp_arrivals *arrivals, const void *data, size_t size,
	const struct addr *source, bool tapped)
{
	for (size_t i = 0; i < arrivals->count; i++) {
		struct udp_arrival *arrival = &arrivals->expected[i];
		struct binding_answer answer;
		const char *why;

		if (binding_read_answer(&arrival->question,
			    (enum addr_family)arrivals->local.family, data, size, &answer,
			    &why) != BINDING_MAPPED)
			continue;
		arrival->source = *source;
		arrival->arrived = true;
		arrival->heard = arrival->heard || !tapped;
		return true;
	}
	return false;
}

/* Each returns whether there may be more. */
static bool read_raw(struct udp_arrivals *arrivals)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct segment_packet packet;
	struct segment_datagram datagram;
	int got = packet_receive(arrivals->socket, &arrivals->local, bytes, sizeof(bytes), &packet);

	if (got == 1 && segment_read_udp(&datagram, &packet) == 0 &&
		datagram.destination.port == arrivals->local.port)
		judge(arrivals, datagram.data, datagram.data_size, &datagram.source, false);
	return got >= 0;
}

static bool read_bound(struct udp_arrivals *arrivals)
{
	uint8_t bytes[DATAGRAM_MAX];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	struct addr source;
	ssize_t got = recvfrom(
		arrivals->socket, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length);

	if (got < 0)
		return errno != EAGAIN;
	socket_to_addr(&from, &source);
	if (!judge(arrivals, bytes, (size_t)got, &source, false) && arrivals->stray != NULL)
		arrivals->stray(arrivals->context, &source, bytes, (size_t)got);
	return true;
}

static bool read_tap(struct udp_arrivals *arrivals)
{
	uint8_t bytes[STUN_DATAGRAM_MAX];
	struct addr source;
	size_t size;
	int got =
		tap_receive(arrivals->tap, MAPPING_UDP, &source, NULL, bytes, sizeof(bytes), &size);

	if (got == 1)
		judge(arrivals, bytes, size, &source, true);
	return got >= 0;
}

void udp_arrivals_read(struct udp_arrivals *arrivals)
{
	bool (*read_socket)(struct udp_arrivals * arrivals) = arrivals->raw ? read_raw : read_bound;

	for (unsigned i = 0; i < RECEIVE_MAX && arrivals->socket >= 0; i++)
		if (!read_socket(arrivals))
			break;
	for (unsigned i = 0; i < RECEIVE_MAX && arrivals->tap >= 0; i++)
		if (!read_tap(arrivals))
			break;
}

void udp_arrivals_close(struct udp_arrivals *arrivals)
{
	if (arrivals->socket >= 0)
		close(arrivals->socket);
	if (arrivals->tap >= 0)
		close(arrivals->tap);
	arrivals->socket = arrivals->tap = -1;
}
