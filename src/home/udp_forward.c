/*
 * How datagrams are forwarded.
 *
 * A flow is a remote address and a socket of its own that is connected to the server: so the server
 * tells its peers apart, and its answers go back to the remote that asked.
 *
 *   a datagram comes to the port    its remote's flow sends it to the server; a remote without a
 *                                   flow gets one
 *   the server answers              the port sends the answer to the flow's remote
 *   UDP_FORWARD_IDLE_MS without     the flow is ended
 *   a datagram of the remote's
 *
 * The table is of fixed size. When it is full, a newcomer takes the place of the flow that the
 * server never answered and whose last datagram is the oldest. If the server has answered all
 * flows, the newcomer's datagram is dropped.
 *
 * Threat: everybody can send, with any source. A server that answers only those who have a key, as
 * a VPN's does, keeps its flows by that rule. For a server that answers everybody, strangers can
 * fill the table; such a server would answer a forged source without us too, and we do not send
 * more than it.
 */
#include "natpunch/home/udp_forward.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "natpunch/os/resolve.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define RECEIVE_MAX      64 /* datagrams at once, of one descriptor */
#define DATAGRAM_MAX     65536
#define WARNING_PAUSE_MS 60000

/* Set after bind(2), SO_REUSEPORT shares the port with no socket except our own connected ones. */
static int listen_at(const struct addr *local, const char *interface)
{
	int fd = socket_open((enum addr_family)local->family, SOCK_DGRAM, 0);
	int saved;

	if (fd < 0)
		return -1;
	if ((local->family != ADDR_IPV6 ||
		    socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0) &&
		(interface == NULL || socket_bind_interface(fd, interface) == 0) &&
		socket_bind(fd, local) == 0 &&
		socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int open_listeners(
	struct udp_forward *forward, const struct addr *local, const char *interface)
{
	struct addr any = *local;

	if (local->family != ADDR_NONE) {
		forward->listeners[0] = listen_at(local, interface);
		return forward->listeners[0] >= 0 ? 0 : -1;
	}
	any.family = ADDR_IPV4;
	forward->listeners[0] = listen_at(&any, interface);
	if (forward->listeners[0] < 0)
		return -1;
	/* This machine may have no IPv6. */
	any.family = ADDR_IPV6;
	forward->listeners[1] = listen_at(&any, interface);
	return forward->listeners[1] >= 0 || errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL ? 0
											     : -1;
}

static int look_up(struct udp_forward *forward, const struct host_port *to, struct error *error)
{
	struct resolve resolve;
	int result;

	resolve_start(&resolve, to->host, to->port, ADDR_NONE);
	result = resolve_wait(&resolve, to->host, TIMER_NONE, error);
	if (result == 0)
		forward->to = resolve.found[0];
	resolve_end(&resolve);
	return result;
}

/* Would a datagram that is passed on come to us again, as that of a newcomer? */
static bool leads_here(const struct addr *to, const struct addr *local)
{
	struct addr plain = *to;

	addr_unmap(&plain);
	if (plain.port != local->port)
		return false;
	/* What is sent to no address goes to the loopback. */
	if (addr_classify(&plain) == ADDR_CLASS_UNSPECIFIED)
		return true;
	return local->family == ADDR_NONE ? socket_is_local_ip(&plain)
					  : addr_equal_ip(&plain, local);
}

int udp_forward_open(struct udp_forward *forward, const struct addr *local, const char *interface,
	const struct host_port *to, struct error *error)
{
	memset(forward, 0, sizeof(*forward));
	for (size_t i = 0; i < UDP_FORWARD_LISTENERS; i++)
		forward->listeners[i] = -1;
	for (size_t i = 0; i < UDP_FORWARD_MAX; i++)
		forward->flows[i].fd = -1;
	if (look_up(forward, to, error) != 0)
		return -1;
	if (leads_here(&forward->to, local))
		return error_set(
			error, EXIT_STATUS_USAGE, "--to is the very port that datagrams come to");
	if (open_listeners(forward, local, interface) == 0)
		return 0;
	error_set(
		error, EXIT_STATUS_LOCAL, "cannot bind port %u: %s", local->port, strerror(errno));
	udp_forward_end(forward);
	return -1;
}

/* ---- the table ---------------------------------------------------------------------------- */

static void end_flow(struct udp_forward_flow *flow)
{
	close(flow->fd);
	*flow = (struct udp_forward_flow){.fd = -1};
}

static struct udp_forward_flow *find_flow(struct udp_forward *forward, const struct addr *remote)
{
	for (size_t i = 0; i < UDP_FORWARD_MAX; i++)
		if (forward->flows[i].fd >= 0 && addr_equal(&forward->flows[i].remote, remote))
			return &forward->flows[i];
	return NULL;
}

/* Returns a free place, or that of the flow that makes room, or NULL. */
static struct udp_forward_flow *find_room(struct udp_forward *forward)
{
	struct udp_forward_flow *oldest = NULL;

	for (size_t i = 0; i < UDP_FORWARD_MAX; i++) {
		struct udp_forward_flow *flow = &forward->flows[i];

		if (flow->fd < 0)
			return flow;
		if (!flow->answered && (oldest == NULL || flow->heard < oldest->heard))
			oldest = flow;
	}
	if (oldest != NULL)
		end_flow(oldest);
	return oldest;
}

static void warn(
	struct udp_forward *forward, const struct addr *remote, const char *why, uint64_t now)
{
	char text[ADDR_TEXT_SIZE];

	if (now < forward->warn_again)
		return;
	forward->warn_again = now + WARNING_PAUSE_MS;
	log_warning("cannot hand over what comes from %s: %s", addr_format(remote, text), why);
}

static struct udp_forward_flow *start_flow(
	struct udp_forward *forward, size_t listener, const struct addr *remote, uint64_t now)
{
	struct udp_forward_flow *flow = find_room(forward);
	int fd;

	if (flow == NULL) {
		warn(forward, remote, "too many are served at once", now);
		return NULL;
	}
	fd = socket_open((enum addr_family)forward->to.family, SOCK_DGRAM, 0);
	if (fd < 0 || socket_connect(fd, &forward->to) != 0) {
		warn(forward, remote, strerror(errno), now);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	*flow = (struct udp_forward_flow){.fd = fd, .listener = listener, .remote = *remote};
	return flow;
}

/* ---- passing on --------------------------------------------------------------------------- */

/* A datagram that cannot be sent at once is lost. */
static void pass_to_server(struct udp_forward *forward, size_t listener, const struct addr *remote,
	const void *data, size_t size, uint64_t now)
{
	struct udp_forward_flow *flow = find_flow(forward, remote);

	if (flow == NULL)
		flow = start_flow(forward, listener, remote, now);
	if (flow == NULL)
		return;
	flow->heard = now;
	(void)send(flow->fd, data, size, MSG_NOSIGNAL);
}

void udp_forward_pass(struct udp_forward *forward, const struct addr *remote, const void *data,
	size_t size, uint64_t now)
{
	size_t listener = forward->listeners[1] >= 0 && remote->family == ADDR_IPV6 ? 1 : 0;

	pass_to_server(forward, listener, remote, data, size, now);
}

/* Returns whether there may be more to read. */
static bool pass_in(struct udp_forward *forward, size_t listener, uint64_t now)
{
	uint8_t bytes[DATAGRAM_MAX];
	struct sockaddr_storage sockaddr;
	socklen_t length = sizeof(sockaddr);
	struct addr remote;
	ssize_t got = recvfrom(forward->listeners[listener], bytes, sizeof(bytes), 0,
		(struct sockaddr *)&sockaddr, &length);

	if (got < 0)
		return errno != EAGAIN;
	socket_to_addr(&sockaddr, &remote);
	pass_to_server(forward, listener, &remote, bytes, (size_t)got, now);
	return true;
}

static bool pass_out(struct udp_forward *forward, struct udp_forward_flow *flow)
{
	uint8_t bytes[DATAGRAM_MAX];
	struct sockaddr_storage sockaddr;
	socklen_t length = socket_from_addr(&flow->remote, &sockaddr);
	ssize_t got = recv(flow->fd, bytes, sizeof(bytes), 0);

	if (got < 0)
		return errno != EAGAIN;
	flow->answered = true;
	(void)sendto(forward->listeners[flow->listener], bytes, (size_t)got, MSG_NOSIGNAL,
		(struct sockaddr *)&sockaddr, length);
	return true;
}

uint64_t udp_forward_watch(
	const struct udp_forward *forward, struct pollfd fds[UDP_FORWARD_WATCH_MAX])
{
	uint64_t due = TIMER_NONE;

	for (size_t i = 0; i < UDP_FORWARD_MAX; i++) {
		const struct udp_forward_flow *flow = &forward->flows[i];

		fds[i] = (struct pollfd){.fd = flow->fd, .events = POLLIN};
		if (flow->fd >= 0)
			due = timer_earlier(due, flow->heard + UDP_FORWARD_IDLE_MS);
	}
	for (size_t i = 0; i < UDP_FORWARD_LISTENERS; i++)
		fds[UDP_FORWARD_MAX + i] =
			(struct pollfd){.fd = forward->listeners[i], .events = POLLIN};
	return due;
}

void udp_forward_advance(
	struct udp_forward *forward, const struct pollfd fds[UDP_FORWARD_WATCH_MAX], uint64_t now)
{
	for (size_t i = 0; i < UDP_FORWARD_MAX; i++) {
		struct udp_forward_flow *flow = &forward->flows[i];

		if (flow->fd < 0)
			continue;
		for (unsigned n = 0; n < RECEIVE_MAX && fds[i].revents != 0; n++)
			if (!pass_out(forward, flow))
				break;
		if (now >= flow->heard + UDP_FORWARD_IDLE_MS)
			end_flow(flow);
	}
	for (size_t i = 0; i < UDP_FORWARD_LISTENERS; i++)
		for (unsigned n = 0; n < RECEIVE_MAX && fds[UDP_FORWARD_MAX + i].revents != 0; n++)
			if (!pass_in(forward, i, now))
				break;
}

void udp_forward_end(struct udp_forward *forward)
{
	for (size_t i = 0; i < UDP_FORWARD_MAX; i++)
		if (forward->flows[i].fd >= 0)
			end_flow(&forward->flows[i]);
	for (size_t i = 0; i < UDP_FORWARD_LISTENERS; i++) {
		if (forward->listeners[i] >= 0)
			close(forward->listeners[i]);
		forward->listeners[i] = -1;
	}
}
