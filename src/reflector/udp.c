/*
 * Two system calls serve a batch: recvmmsg(2) and sendmmsg(2). Request and answer share the
 * sender's address and the control message with the local one, which is turned round in place.
 *
 * Threat: the sender can be forged, and gets the answer. So an answer is never larger than
 * binding_write_answer() allows, never sent twice, and never sent for a datagram that was not
 * addressed to this host alone.
 */
#include "reflector/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/log.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define BATCH        64
#define ROUNDS       4 /* batches for one socket before the others have their turn */
#define REQUEST_SIZE STUN_DATAGRAM_MAX /* longer ones are cut by the kernel, and passed over */

/* Both fit; the struct in front aligns it. */
union control {
	struct cmsghdr align;
	char v4[CMSG_SPACE(sizeof(struct in_pktinfo))];
	char v6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_batch {
	struct mmsghdr requests[BATCH];
	struct mmsghdr answers[BATCH];
	struct iovec request_parts[BATCH];
	struct iovec answer_parts[BATCH];
	struct sockaddr_storage peers[BATCH];
	union control controls[BATCH];
	uint8_t request_bytes[BATCH][REQUEST_SIZE];
	uint8_t answer_bytes[BATCH][STUN_DATAGRAM_MAX];
};

static void reset_request(struct udp_batch *batch, size_t index)
{
	struct msghdr *header = &batch->requests[index].msg_hdr;

	header->msg_namelen = sizeof(batch->peers[index]);
	header->msg_controllen = sizeof(batch->controls[index]);
	header->msg_flags = 0;
}

struct udp_batch *udp_open(void)
{
	struct udp_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	for (size_t i = 0; i < BATCH; i++) {
		struct msghdr *header = &batch->requests[i].msg_hdr;

		batch->request_parts[i].iov_base = batch->request_bytes[i];
		batch->request_parts[i].iov_len = REQUEST_SIZE;
		header->msg_name = &batch->peers[i];
		header->msg_control = &batch->controls[i];
		header->msg_iov = &batch->request_parts[i];
		header->msg_iovlen = 1;
		reset_request(batch, i);
	}
	return batch;
}

void udp_close(struct udp_batch *batch)
{
	free(batch);
}

static int set_options(int fd, const struct addr *addr, bool shared)
{
	/* A socket on one address answers from it anyway. */
	bool wildcard = addr_classify(addr) == ADDR_CLASS_UNSPECIFIED;

	if (shared && socket_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		return -1;
	if (addr->family == ADDR_IPV6) {
		if (socket_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0)
			return -1;
		return wildcard ? socket_set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : 0;
	}
	return wildcard ? socket_set_flag(fd, IPPROTO_IP, IP_PKTINFO, 1) : 0;
}

int udp_listen(const struct addr *addr, bool shared)
{
	int fd = socket_open((enum addr_family)addr->family, SOCK_DGRAM, IPPROTO_UDP);
	int saved;

	if (fd < 0)
		return -1;
	if (set_options(fd, addr, shared) == 0 && socket_bind(fd, addr) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* The routing table chooses the interface, except for an address that needs its interface. */
static bool turn_v4(struct in_pktinfo *info)
{
	if (info->ipi_addr.s_addr != info->ipi_spec_dst.s_addr)
		return false; /* broadcast or multicast */
	info->ipi_ifindex = 0;
	return true;
}

static bool turn_v6(struct in6_pktinfo *info)
{
	if (IN6_IS_ADDR_MULTICAST(&info->ipi6_addr))
		return false;
	if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
		info->ipi6_ifindex = 0;
	return true;
}

bool udp_turn_control(struct msghdr *header)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(header);

	if (control == NULL)
		return true;
	if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO)
		return turn_v4((struct in_pktinfo *)(void *)CMSG_DATA(control));
	if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO)
		return turn_v6((struct in6_pktinfo *)(void *)CMSG_DATA(control));
	return false;
}

static void log_peer(const struct addr *peer, const char *what)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("udp %s %s", addr_format(peer, text), what);
}

/* The address of this machine that the request came to; its control message was turned. */
static struct addr destination(const struct msghdr *request, const struct udp_port *port)
{
	const struct cmsghdr *control = CMSG_FIRSTHDR(request);
	struct addr to = port->bound;

	if (control == NULL)
		return to;
	if (control->cmsg_level == IPPROTO_IP)
		memcpy(to.ip,
			&((const struct in_pktinfo *)(const void *)CMSG_DATA(control))
				 ->ipi_spec_dst,
			4);
	else
		memcpy(to.ip,
			&((const struct in6_pktinfo *)(const void *)CMSG_DATA(control))->ipi6_addr,
			16);
	return to;
}

/* Makes the control message of an answer that leaves from `from`. */
static void set_source(struct msghdr *answer, union control *control, const struct addr *from)
{
	bool v6 = from->family == ADDR_IPV6;
	struct in_pktinfo v4_info = {.ipi_ifindex = 0};
	struct in6_pktinfo v6_info = {.ipi6_ifindex = from->scope};
	struct cmsghdr *header;

	memset(control, 0, sizeof(*control));
	answer->msg_control = control;
	answer->msg_controllen = v6 ? sizeof(control->v6) : sizeof(control->v4);
	header = CMSG_FIRSTHDR(answer);
	header->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	header->cmsg_type = v6 ? IPV6_PKTINFO : IP_PKTINFO;
	header->cmsg_len = v6 ? CMSG_LEN(sizeof(v6_info)) : CMSG_LEN(sizeof(v4_info));
	memcpy(&v4_info.ipi_spec_dst, from->ip, 4);
	memcpy(&v6_info.ipi6_addr, from->ip, 16);
	if (v6)
		memcpy(CMSG_DATA(header), &v6_info, sizeof(v6_info));
	else
		memcpy(CMSG_DATA(header), &v4_info, sizeof(v4_info));
}

static bool is_readable(const struct udp_batch *batch, size_t index)
{
	const struct msghdr *request = &batch->requests[index].msg_hdr;

	return (request->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
}

static void prepare_answer(struct udp_batch *batch, size_t index, size_t at, size_t size)
{
	batch->answer_parts[at].iov_base = batch->answer_bytes[at];
	batch->answer_parts[at].iov_len = size;
	batch->answers[at].msg_hdr = batch->requests[index].msg_hdr;
	batch->answers[at].msg_hdr.msg_flags = 0;
	batch->answers[at].msg_hdr.msg_iov = &batch->answer_parts[at];
}

/* What a request is answered with. */
struct service {
	const struct udp_port *port;
	const struct binding_server *server;
	struct names *names;
	struct counters *counters;
	uint64_t now;
};

/* One request, and what is to become of its answer. */
struct call {
	struct addr peer;
	struct addr to; /* the address of this machine that it came to */
	const uint8_t *request;
	size_t request_size;
	struct binding_request granted;
	struct binding_places alternates;
};

/* Is this the socket that sends from there? */
static bool sends_from(const struct udp_port *port, const struct addr *from)
{
	return port->fd >= 0 && port->bound.family == from->family &&
	       port->bound.port == from->port &&
	       (addr_classify(&port->bound) == ADDR_CLASS_UNSPECIFIED ||
		       addr_equal_ip(&port->bound, from));
}

/*
 * Sends a datagram to a home, from an address that its NAT lets in. It is not sent again: the
 * initiator asks again. It is smaller than the request that caused it, which has proven its source
 * and the name's key.
 */
static void send_invitation(const struct service *service, const struct names_effect *effect)
{
	const struct udp_port *port = service->port;
	struct sockaddr_storage sockaddr;
	uint8_t bytes[INVITATION_SIZE_MAX];
	struct iovec part = {.iov_base = bytes, .iov_len = effect->invitation_size};
	struct msghdr message = {.msg_name = &sockaddr, .msg_iov = &part, .msg_iovlen = 1};
	union control control;

	while (!sends_from(port, &effect->home_via)) {
		port = port->next;
		if (port == NULL || port == service->port)
			return;
	}
	memcpy(bytes, effect->invitation, effect->invitation_size);
	message.msg_namelen = socket_from_addr(&effect->home, &sockaddr);
	set_source(&message, &control, &effect->home_via);
	sendmsg(port->fd, &message, 0);
	log_peer(&effect->home, "told of an initiator");
}

static enum binding_verdict answer_name(const struct service *service, const struct call *call,
	uint8_t *out, size_t *size, bool *other)
{
	const struct names_caller caller = {
		.source = &call->peer, .server = service->server, .via = &call->to};
	struct names_effect effect;
	enum names_verdict verdict = names_answer(service->names, &caller, call->request,
		call->request_size, service->now, out, STUN_MESSAGE_MAX, size, &effect);

	*other = verdict == NAMES_OTHER;
	if (effect.invitation_size > 0)
		send_invitation(service, &effect);
	return verdict == NAMES_ANSWERED ? BINDING_ANSWERED : BINDING_SILENT;
}

static enum binding_verdict write_answer(
	const struct service *service, struct call *call, uint8_t *out, size_t *size)
{
	struct binding_server server = *service->server;
	enum binding_verdict verdict;
	bool other;

	call->granted = (struct binding_request){.mode = BINDING_MODE_NONE};
	verdict = answer_name(service, call, out, size, &other);
	if (!other)
		return verdict;
	if (service->port->alternates != NULL &&
		alternate_around(service->port->alternates, &call->to, &call->alternates))
		server.places = &call->alternates;
	return binding_write_answer(&server, &call->peer, call->request, call->request_size, out,
		STUN_DATAGRAM_MAX, size, &call->granted);
}

/* Sends one answer from another address or to another port than a client would take it from. */
static void send_elsewhere(
	struct udp_batch *batch, size_t at, const struct udp_port *port, const struct call *call)
{
	const struct addr *from =
		&call->alternates.at[(call->granted.change_ip ? BINDING_OTHER_IP : 0) |
				     (call->granted.change_port ? BINDING_OTHER_PORT : 0)];
	struct sockaddr_storage sockaddr;
	struct msghdr answer = batch->answers[at].msg_hdr;
	union control control;
	struct addr to = call->peer;

	if (call->granted.response_port != 0)
		to.port = call->granted.response_port;
	answer.msg_namelen = socket_from_addr(&to, &sockaddr);
	answer.msg_name = &sockaddr;
	set_source(&answer, &control, from);
	sendmsg(alternate_socket(port->alternates, from), &answer, 0);
	log_peer(&call->peer, "asked, answered elsewhere");
}

static_assert(sizeof(union control) <= WORKER_QUEUE_CONTROL && REQUEST_SIZE <= WORKER_QUEUE_BYTES,
	"all of a datagram fits into an item");

/* If the queue loses one, its sender sends it again, as after any loss. */
static void enqueue(const struct udp_batch *batch, size_t index, const struct udp_port *port)
{
	const struct msghdr *request = &batch->requests[index].msg_hdr;
	struct worker_queue_item item = {.fd = -1,
		.port = port->number,
		.from = batch->peers[index],
		.from_size = request->msg_namelen,
		.control_size = (socklen_t)request->msg_controllen,
		.size = batch->requests[index].msg_len};

	memcpy(item.control, &batch->controls[index], sizeof(batch->controls[index]));
	memcpy(item.bytes, batch->request_bytes[index], item.size);
	if (!worker_queue_send(port->queue, &item))
		return;
}

/* Writes the answer to one request as answers[at]; false when there is none to be sent. */
static bool answer_one(
	struct udp_batch *batch, size_t index, size_t at, const struct service *service)
{
	struct msghdr *request = &batch->requests[index].msg_hdr;
	struct call call = {
		.request = batch->request_bytes[index],
		.request_size = batch->requests[index].msg_len,
	};
	enum binding_verdict verdict;
	size_t size;

	if (service->port->queue != NULL && is_readable(batch, index) &&
		worker_queue_wants(call.request, call.request_size)) {
		enqueue(batch, index, service->port);
		return false;
	}
	socket_to_addr(&batch->peers[index], &call.peer);
	if (call.peer.port == 0 || !is_readable(batch, index) || !udp_turn_control(request)) {
		count_one(service->counters, COUNTER_UDP_UNREADABLE);
		log_peer(&call.peer, "ignored");
		return false;
	}
	call.to = destination(request, service->port);
	verdict = write_answer(service, &call, batch->answer_bytes[at], &size);
	if (verdict == BINDING_BROKEN)
		count_one(service->counters, COUNTER_UDP_NOT_STUN);
	else if (!count_request(
			 service->counters, COUNTER_UDP_REQUESTS, call.request, call.request_size))
		count_one(service->counters, COUNTER_UDP_NO_REQUEST);
	if (verdict != BINDING_ANSWERED) {
		log_peer(&call.peer, verdict == BINDING_SILENT ? "ignored" : "ignored: not STUN");
		return false;
	}
	count_answer(service->counters, COUNTER_UDP_ANSWERS, batch->answer_bytes[at], size);
	prepare_answer(batch, index, at, size);
	if (call.granted.change_ip || call.granted.change_port || call.granted.response_port != 0) {
		send_elsewhere(batch, at, service->port, &call);
		return false;
	}
	log_peer(&call.peer, "asked, answered");
	return true;
}

void udp_serve(struct udp_batch *batch, const struct udp_port *port,
	const struct binding_server *server, struct names *names, struct counters *counters,
	uint64_t now)
{
	const struct service service = {
		.port = port, .server = server, .names = names, .counters = counters, .now = now};

	for (int round = 0; round < ROUNDS; round++) {
		int count = recvmmsg(port->fd, batch->requests, BATCH, MSG_DONTWAIT, NULL);
		size_t answers = 0;

		/* An error that was pending (some ICMP) is taken by this and does not come again.
		 */
		if (count <= 0)
			return;
		for (size_t i = 0; i < (size_t)count; i++)
			if (answer_one(batch, i, answers, &service))
				answers++;
		socket_send_each(port->fd, batch->answers, answers);
		for (size_t i = 0; i < (size_t)count; i++)
			reset_request(batch, i);
		if (count < BATCH)
			return;
	}
}

void udp_serve_queued(struct udp_batch *batch, const struct udp_port *port,
	const struct binding_server *server, struct names *names, struct counters *counters,
	const struct worker_queue_item *item, uint64_t now)
{
	const struct service service = {
		.port = port, .server = server, .names = names, .counters = counters, .now = now};

	if (item->size > REQUEST_SIZE || item->control_size > sizeof(batch->controls[0]))
		return;
	batch->peers[0] = item->from;
	memcpy(&batch->controls[0], item->control, sizeof(batch->controls[0]));
	memcpy(batch->request_bytes[0], item->bytes, item->size);
	batch->requests[0].msg_len = (unsigned)item->size;
	batch->requests[0].msg_hdr.msg_namelen = item->from_size;
	batch->requests[0].msg_hdr.msg_controllen = item->control_size;
	if (answer_one(batch, 0, 0, &service))
		socket_send_each(port->fd, batch->answers, 1);
	reset_request(batch, 0);
}
