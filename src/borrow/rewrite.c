/*
 * rewrite: an ordinary connection from any free port, whose source port this machine's own
 * netfilter changes on the way out.
 *
 *	socket, port E --- postrouting: one rule, for this flow only: E becomes P --> the network
 *	socket, port E <-- prerouting: connection tracking, P becomes E again ------- the network
 *
 * The listener on P sees nothing of it: the kernel translates an answer before it looks for a
 * socket. Needs CAP_NET_ADMIN and nothing else, also below port 1024, as P is never bound.
 *
 * Order. First the socket is bound to a free port, so that its flow is known; then the rule is
 * made; then the socket connects. The rule decides about the first packet of a flow that connection
 * tracking does not know yet; later packets follow the entry made then.
 *
 * The rule lives as long as the netlink socket that made it (borrowed.guard), and ends with the
 * process however that ends. If it was the only NAT rule, translation of existing flows ends too.
 * So the rule must outlast the connection: first the connection is closed until the peer
 * acknowledges our FIN, then the entry is deleted, then the rule.
 *
 * What connection tracking remembers. Its entry for our flow outlives the connection: 5 days after
 * a silent close. While it is there, a second flow to the same remote address cannot have the port
 * P as well (an answer could belong to either) and the kernel silently drops its packets. So
 *  - at the end, our own entry is deleted, and no other. Outside nothing changes: the NATs on the
 *    way have entries of their own, and strangers' packets to P never belonged to ours;
 *  - at the beginning, an entry that is in the way is looked for. It is deleted if it is of a
 *    connection of this machine without a socket (of a run that was killed, or of a silent close by
 *    another method), or of datagrams that came to P and were not answered. If it has a socket, or
 *    if that cannot be found out, the port is busy: no other entry is ever deleted.
 *
 * SIGKILL. The kernel closes the connection with a RST (SO_LINGER with no time), so that no socket
 * is left to send a FIN again and again, from E, where nothing translates any more. Of a process
 * that is killed Linux takes the last descriptor first, so the socket is opened after the guard:
 * then the RST is still translated. Only the entry stays behind: where something else keeps
 * connection tracking at work, as a firewall does, it lives for another 10 s (the kernel's time for
 * a connection that was reset; 30 s over UDP), in which the other methods' packets from P to the
 * same remote address are dropped. This method deletes it.
 *
 * What else may be affected. A firewall of this machine sees E in its output chains and P in
 * postrouting chains that come later; a rule that lets out P only stops us. Packets that are exempt
 * from connection tracking (notrack) are not translated; over TCP that is noticed and said, as is
 * another NAT rule that comes first. Reverse path filtering and hairpinning are about addresses;
 * only a port changes here.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tcp.h>

#include "natpunch/borrow/method.h"
#include "natpunch/os/log.h"
#include "natpunch/proto/nft_message.h"
#include "natpunch/os/privileges.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"
#include "natpunch/os/nft_snat.h"

#define FIN_WAIT_MS 250 /* for the peer's FIN behind ours: a round trip */
#define ACK_WAIT_S  1   /* for its acknowledgement of ours; whole seconds, by SO_LINGER */

static bool is_unspecified(const struct addr *addr)
{
	return addr->family == ADDR_NONE || addr_classify(addr) == ADDR_CLASS_UNSPECIFIED;
}

/* The address that the packets will leave with: the rule must name it. Returns 0, or -1 and errno.
 */
static int find_source(const struct borrow_request *request, struct addr *out)
{
	struct borrow_request question = *request;
	struct error ignored;
	int result = 0;
	int fd;

	*out = request->local;
	if (!is_unspecified(&request->local))
		return 0;
	question.protocol = MAPPING_UDP; /* connecting it sends nothing */
	if (borrow_method_make_socket(&question, &fd, &ignored) != BORROW_OPEN)
		return -1;
	if (socket_connect(fd, &request->remote) != 0 || socket_local(fd, out) != 0)
		result = -1;
	close(fd);
	return result;
}

/*
 * Is there a TCP socket with this pair of addresses? A socket in repair mode finds out: it connects
 * without a packet, only if the pair is free, and closes as silently. Also true when that cannot be
 * found out, for lack of the right to bind.
 */
static bool stream_exists(const struct nft_message_flow *flow)
{
	int fd = socket_open((enum addr_family)flow->source.family, SOCK_STREAM, IPPROTO_TCP);
	bool exists = true;

	if (fd < 0)
		return true;
	if (socket_set_flag(fd, IPPROTO_TCP, TCP_REPAIR, 1) == 0 &&
		socket_bind(fd, &flow->source) == 0 && socket_connect(fd, &flow->destination) == 0)
		exists = false;
	close(fd);
	return exists;
}

/* Is there a UDP socket on the port? A daemon's has no remote address: any may be in use. */
static bool datagram_exists(const struct nft_message_flow *flow)
{
	int fd = socket_open((enum addr_family)flow->source.family, SOCK_DGRAM, IPPROTO_UDP);
	bool exists;

	if (fd < 0)
		return true;
	exists = socket_bind(fd, &flow->source) != 0;
	close(fd);
	return exists;
}

/* What the packets of an entry look like as our own machine's socket sends them. */
static struct nft_message_flow own_flow(
	const struct nft_message_entry *entry, const struct nft_message_flow *wanted)
{
	/* A connection that came in to the port: our side of it is the answering one. */
	struct nft_message_flow inbound = nft_message_flow_reverse(wanted);

	if (nft_message_flow_equal(&entry->original, &inbound))
		return *wanted;
	return entry->original;
}

/*
 * Did datagrams come to the port that its holder never answered? In a UDP punch these are the other
 * side's checks that came before our rule; the next check makes a new entry.
 */
static bool is_unanswered(
	const struct nft_message_entry *entry, const struct nft_message_flow *wanted)
{
	return wanted->protocol == MAPPING_UDP && !entry->answered &&
	       nft_message_flow_equal(&entry->reply, wanted);
}

/*
 * Makes way for `wanted`, the flow as the network is to see it. Returns false when a program may
 * still need it.
 */
static bool clear_way(int guard, const struct nft_message_flow *wanted)
{
	struct nft_message_flow answers = nft_message_flow_reverse(wanted);
	struct nft_message_entry entry;
	struct nft_message_flow own;

	if (nft_snat_find(guard, &answers, &entry) != 1)
		return true;
	own = own_flow(&entry, wanted);
	/* Forwarded for another machine, or for a container on this one. */
	if (!addr_equal_ip(&own.source, &wanted->source))
		return false;
	if (is_unanswered(&entry, wanted))
		return nft_snat_forget(guard, &entry) == 0;
	if (wanted->protocol == MAPPING_TCP ? stream_exists(&own) : datagram_exists(&own))
		return false;
	return nft_snat_forget(guard, &entry) == 0;
}

/* Adds the rule for a socket that is bound. Returns BORROW_OPEN, or why not. */
static enum borrow_result translate(int fd, int guard, const struct borrow_request *request,
	const struct addr *local, struct error *error)
{
	struct nft_message_flow wanted = {request->protocol, *local, request->remote};
	struct nft_message_flow flow = {request->protocol, *local, request->remote};
	struct nft_message_entry entry;
	char remote[ADDR_TEXT_SIZE];

	if (!clear_way(guard, &wanted)) {
		error_set(error, EXIT_STATUS_LOCAL, "port %u already has a connection to %s",
			local->port, addr_format(&request->remote, remote));
		return BORROW_BUSY;
	}
	flow.source.port = 0;
	if (socket_bind(fd, &flow.source) != 0 || socket_local(fd, &flow.source) != 0) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot bind a free port: %s", strerror(errno));
		if (errno == EADDRNOTAVAIL)
			error_hint(error, "the address of -b is not one of this machine's");
		return BORROW_CANNOT;
	}
	/* The free port is ours alone now: an entry for it is of a connection that is over. */
	if (nft_snat_find(guard, &flow, &entry) == 1)
		nft_snat_forget(guard, &entry);
	if (nft_snat_add(guard, &flow, local->port, error) != 0)
		return BORROW_CANNOT;
	return BORROW_OPEN;
}

/*
 * After the first packet: did our rule translate it? If not, *error says why. Also true when that
 * cannot be found out.
 */
static bool was_translated(int guard, const struct nft_message_flow *answers, struct error *error)
{
	struct nft_message_entry entry;

	if (nft_snat_find(guard, answers, &entry) != 0)
		return true;
	error_set(error, EXIT_STATUS_LOCAL,
		"cannot rewrite the source port to %u: another rule of this machine's firewall "
		"decides",
		answers->destination.port);
	error_hint(
		error, "a NAT rule that comes first, or packets exempt from connection tracking");
	return false;
}

/* The flow of answers as they come from the network. */
static struct nft_message_flow answers_of(const struct borrowed *borrowed)
{
	return (struct nft_message_flow){
		.protocol = borrowed->kind == BORROW_STREAM ? MAPPING_TCP : MAPPING_UDP,
		.source = borrowed->remote,
		.destination = borrowed->local,
	};
}

static enum borrow_result rewrite_open(
	const struct borrow_request *request, struct borrowed *out, struct error *error)
{
	struct linger abort = {.l_onoff = 1, .l_linger = 0};
	struct addr local;
	struct nft_message_flow answers;
	struct borrowed opened;
	enum borrow_result result;
	bool stream = request->protocol == MAPPING_TCP;
	int guard;
	int fd;

	/* First the guard, then the socket: see SIGKILL above. */
	guard = nft_snat_open(error);
	if (guard < 0)
		return BORROW_CANNOT;
	result = borrow_method_make_socket(request, &fd, error);
	if (result != BORROW_OPEN) {
		close(guard);
		return result;
	}
	if (stream)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	if (find_source(request, &local) != 0) {
		char remote[ADDR_TEXT_SIZE];
		error_set(error, EXIT_STATUS_LOCAL, "cannot reach %s: %s",
			addr_format(&request->remote, remote), strerror(errno));
		result = BORROW_UNREACHABLE;
		goto failed;
	}
	local.port = request->local.port;
	result = translate(fd, guard, request, &local, error);
	if (result == BORROW_OPEN)
		result = borrow_method_connect(fd, request, error);
	if (result != BORROW_OPEN)
		goto failed;
	opened = (struct borrowed){
		.method = &borrow_method_rewrite,
		.kind = stream ? BORROW_STREAM : BORROW_DATAGRAM,
		.fd = fd,
		.guard = guard,
		.local = local,
		.remote = request->remote,
	};
	answers = answers_of(&opened);
	if (stream && !was_translated(guard, &answers, error)) {
		result = BORROW_CANNOT;
		goto failed;
	}
	*out = opened;
	return BORROW_OPEN;
failed:
	close(fd);
	close(guard);
	return result;
}

/* Over UDP connect() sends nothing, so the rule is checked after each datagram. */
static ssize_t rewrite_send(struct borrowed *borrowed, const void *data, size_t size)
{
	struct nft_message_flow answers = answers_of(borrowed);
	ssize_t sent = send(borrowed->fd, data, size, MSG_NOSIGNAL);
	struct error error;

	if (sent < 0 || was_translated(borrowed->guard, &answers, &error))
		return sent;
	log_warning("%s", error.text);
	errno = EPERM;
	return -1;
}

static bool has_received(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	memset(&info, 0, sizeof(info));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
	       info.tcpi_bytes_received > 0;
}

/*
 * Sends FIN and returns when the peer has acknowledged it and sent its own, or the time is up. A
 * connection that never got a byte ends by RST at once.
 */
static void close_in_order(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = ACK_WAIT_S};
	struct pollfd watch = {.fd = fd, .events = POLLRDHUP};

	if (has_received(fd) && shutdown(fd, SHUT_WR) == 0) {
		poll(&watch, 1, FIN_WAIT_MS);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	close(fd);
}

static void rewrite_end(struct borrowed *borrowed, bool silently)
{
	struct nft_message_flow answers = answers_of(borrowed);
	struct nft_message_entry entry;
	bool found = nft_snat_find(borrowed->guard, &answers, &entry) == 1 &&
		     nft_message_flow_equal(&entry.reply, &answers);

	if (borrowed->kind == BORROW_DATAGRAM)
		close(borrowed->fd);
	else if (!silently || !socket_forget(borrowed->fd))
		close_in_order(borrowed->fd);
	borrowed->fd = -1;
	if (found)
		nft_snat_forget(borrowed->guard, &entry);
}

const struct borrow_method borrow_method_rewrite = {
	.name = "rewrite",
	.capability = PRIVILEGES_NET_ADMIN,
	.open = rewrite_open,
	.send = rewrite_send,
	.end = rewrite_end,
};
