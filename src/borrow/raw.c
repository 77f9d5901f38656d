/*
 * raw: the kernel's TCP and UDP take no part. This file makes segments and datagrams with the held
 * port as their source and sends them over a raw socket, which gets a copy of the answers.
 *
 * TCP. The handshake of raw_handshake.h: a SYN and, when it is answered, an ACK, both with a TCP
 * MD5 option for which no socket has a key, so that the kernels at both ends drop them silently,
 * with a listener or without. Only a reflector with raw sockets answers. Three failures are told
 * apart:
 *  - this kernel does not know the option: it would answer the SYN-ACK with a RST, which closes the
 *    NAT's entry. The method checks first, and cannot.
 *  - the option was lost on the way, or the other kernel does not know it: its SYN-ACK comes
 *    without one. This kernel answers that with a RST, and nothing is left.
 *  - a real connection between the same two addresses: the kernels at both ends would ignore our
 *    segments, but the NATs between would take our sequence numbers for that connection's, and then
 *    drop its segments. The method looks for it in the kernel's table.
 *
 * UDP. A datagram with any content. The owner of the port gets the answer as well; every UDP
 * program must ignore such stray datagrams. Without an owner the kernel answers the reflector by an
 * ICMP "port unreachable", which does no harm.
 *
 * Threat: a raw socket receives what anybody sends to this machine. proto/segment checks lengths,
 * proto/raw_handshake the answer to a SYN.
 * Needs CAP_NET_RAW alone: no port is bound.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/borrow/method.h"
#include "natpunch/os/port_owner.h"
#include "natpunch/os/packet.h"
#include "natpunch/os/random.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define SEGMENT_SIZE  SEGMENT_TCP_MAX /* none of ours has data */
#define DATAGRAM_SIZE 1500
#define PACKET_SIZE   2048 /* longer ones are not for us */

static enum borrow_result fail(struct error *error, enum borrow_result result, const char *what)
{
	error_set(error, EXIT_STATUS_LOCAL, "cannot %s: %s", what, strerror(errno));
	return result;
}

static int open_socket(const struct borrow_request *request)
{
	struct packet_filter filter = {
		.source = request->any_port ? 0 : request->remote.port,
		.destinations = {request->local.port},
		.destination_count = 1,
	};

	return packet_open((enum addr_family)request->remote.family, request->protocol, &filter);
}

/* Ties a socket to the interface and the address that are asked for. */
static enum borrow_result tie_socket(
	int fd, const struct borrow_request *request, const struct addr *local, struct error *error)
{
	if (request->interface != NULL && socket_bind_interface(fd, request->interface) != 0) {
		borrow_method_fail_interface(request, error);
		return BORROW_UNREACHABLE;
	}
	if (socket_bind(fd, local) == 0)
		return BORROW_OPEN;
	fail(error, BORROW_CANNOT, "send from the address of -b");
	if (errno == EADDRNOTAVAIL)
		error_hint(error, "the address of -b is not one of this machine's");
	return BORROW_CANNOT;
}

/*
 * Finds the address that packets to the remote one leave from, by a connected socket. The raw one
 * is not connected: it would get every ICMP error with the two addresses in it, about any port and
 * also from this machine, and it hears nothing more once it is disconnected.
 */
static enum borrow_result find_local(
	const struct borrow_request *request, struct addr *local, struct error *error)
{
	char text[ADDR_TEXT_SIZE];
	enum borrow_result result = BORROW_UNREACHABLE;
	int fd = socket_open((enum addr_family)request->remote.family, SOCK_DGRAM, 0);

	if (fd < 0)
		return fail(error, BORROW_UNREACHABLE, "open a socket");
	if (request->remote.family == ADDR_IPV6)
		socket_prefer_public_source(fd);
	*local = borrow_method_local(request);
	local->port = 0;
	result = tie_socket(fd, request, local, error);
	if (result == BORROW_OPEN &&
		(socket_connect(fd, &request->remote) != 0 || socket_local(fd, local) != 0)) {
		result = BORROW_UNREACHABLE;
		error_set(error, EXIT_STATUS_LOCAL, "cannot connect to %s: %s",
			addr_format(&request->remote, text), strerror(errno));
	}
	close(fd);
	local->port = 0;
	return result;
}

static enum borrow_result check_tcp(
	const struct borrow_request *request, const struct addr *local, struct error *error)
{
	char remote[ADDR_TEXT_SIZE];

	if (!packet_kernel_knows_md5()) {
		error_set(error, EXIT_STATUS_LOCAL,
			"this kernel does not know TCP MD5 signatures (CONFIG_TCP_MD5SIG), and "
			"would reset the handshake");
		error_hint(error, "method raw cannot work here; the others may");
		return BORROW_CANNOT;
	}
	if (!port_owner_has_connection(local, &request->remote))
		return BORROW_OPEN;
	error_set(error, EXIT_STATUS_LOCAL, "port %u already has a connection to %s", local->port,
		addr_format(&request->remote, remote));
	return BORROW_BUSY;
}

static enum borrow_result raw_open(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	bool tcp = request->protocol == MAPPING_TCP;
	uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE];
	enum borrow_result result;
	struct addr local;
	int fd = open_socket(request);

	if (fd < 0) {
		result = errno == EPERM ? BORROW_CANNOT : BORROW_UNREACHABLE;
		return fail(error, result, "open a raw socket");
	}
	result = find_local(request, &local, error);
	if (result == BORROW_OPEN)
		result = tie_socket(fd, request, &local, error);
	local.port = request->local.port;
	if (result == BORROW_OPEN && tcp)
		result = check_tcp(request, &local, error);
	if (result != BORROW_OPEN) {
		close(fd);
		return result;
	}
	random_fill(random, sizeof(random));
	*out = (struct borrowed){
		.method = &borrow_method_raw,
		.kind = tcp ? BORROW_HANDSHAKE : BORROW_DATAGRAM,
		.fd = fd,
		.guard = -1,
		.local = local,
		.remote = request->remote,
		.any_port = request->any_port,
	};
	raw_handshake_start(&out->handshake, &local, &request->remote, random);
	return BORROW_OPEN;
}

static int send_packet(const struct borrowed *borrowed, const void *data, size_t size)
{
	struct sockaddr_storage remote;
	struct addr to = borrowed->handshake.remote;
	socklen_t remote_size;

	to.port = 0;
	remote_size = socket_from_addr(&to, &remote);
	return sendto(borrowed->fd, data, size, 0, (struct sockaddr *)&remote, remote_size) < 0 ? -1
												: 0;
}

static int send_segment(const struct borrowed *borrowed, const struct segment *segment)
{
	uint8_t bytes[SEGMENT_SIZE];
	size_t size = segment_write_tcp(segment, bytes, sizeof(bytes));

	return send_packet(borrowed, bytes, size);
}

static int raw_knock(struct borrowed *borrowed)
{
	struct segment syn;

	raw_handshake_make_syn(&borrowed->handshake, &syn);
	return send_segment(borrowed, &syn);
}

static int raw_hear(
	struct borrowed *borrowed, enum raw_handshake_outcome *outcome, struct addr *mapped)
{
	uint8_t bytes[PACKET_SIZE];
	struct segment_packet packet;
	struct segment segment;
	struct segment ack;
	int got = packet_receive(borrowed->fd, &borrowed->local, bytes, sizeof(bytes), &packet);

	if (got < 0)
		return -1;
	*outcome = RAW_HANDSHAKE_UNRELATED;
	if (got == 0 || segment_read_tcp(&segment, &packet) != 0)
		return 0;
	*outcome = raw_handshake_judge(&borrowed->handshake, &segment, mapped);
	if (*outcome != RAW_HANDSHAKE_MAPPED)
		return 0;
	raw_handshake_make_ack(&borrowed->handshake, &segment, &ack);
	if (send_segment(borrowed, &ack) != 0)
		return -1;
	borrowed->acknowledged = true;
	return 0;
}

static void raw_end(struct borrowed *borrowed, bool silently)
{
	struct segment reset;

	(void)silently; /* an answered handshake leaves nothing to end */
	if (borrowed->kind != BORROW_HANDSHAKE || borrowed->acknowledged)
		return;
	raw_handshake_make_reset(&borrowed->handshake, &reset);
	send_segment(borrowed, &reset);
}

static ssize_t raw_send(struct borrowed *borrowed, const void *data, size_t size)
{
	uint8_t bytes[DATAGRAM_SIZE];
	struct segment_datagram datagram = {
		.source = borrowed->local,
		.destination = borrowed->handshake.remote,
		.data = data,
		.data_size = size,
	};
	size_t whole = segment_write_udp(&datagram, bytes, sizeof(bytes));

	if (whole == 0) {
		errno = EMSGSIZE;
		return -1;
	}
	return send_packet(borrowed, bytes, whole) != 0 ? -1 : (ssize_t)size;
}

/* Skips packets that are not from the remote address and port. */
static ssize_t raw_receive(struct borrowed *borrowed, void *out, size_t capacity)
{
	uint8_t bytes[PACKET_SIZE];
	struct segment_packet packet;
	struct segment_datagram datagram;
	int got;

	while ((got = packet_receive(
			borrowed->fd, &borrowed->local, bytes, sizeof(bytes), &packet)) >= 0) {
		if (got == 0 || segment_read_udp(&datagram, &packet) != 0 ||
			!borrow_method_is_from(
				borrowed, &borrowed->handshake.remote, &datagram.source) ||
			!addr_equal(&datagram.destination, &borrowed->local) ||
			datagram.data_size > capacity)
			continue;
		memcpy(out, datagram.data, datagram.data_size);
		return (ssize_t)datagram.data_size;
	}
	return -1;
}

const struct borrow_method borrow_method_raw = {
	.name = "raw",
	.capability = PRIVILEGES_NET_RAW,
	.open = raw_open,
	.send = raw_send,
	.receive = raw_receive,
	.knock = raw_knock,
	.hear = raw_hear,
	.end = raw_end,
};
