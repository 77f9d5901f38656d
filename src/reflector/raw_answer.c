/*
 * A raw socket gets copies: the kernel's own TCP has seen the segment as well, and has dropped it
 * because of its MD5 option.
 *
 * Threat: the source of a SYN can be forged. So the answer to it is one segment of the same size or
 * less, and a SYN that was not addressed to this host alone gets none (raw_handshake_answer()
 * checks the rest).
 */
#include "reflector/raw_answer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/proto/raw_handshake.h"
#include "natpunch/os/log.h"
#include "natpunch/os/packet.h"
#include "natpunch/os/random.h"
#include "reflector/udp.h"
#include "natpunch/os/socket.h"
#include "natpunch/os/socket_linux.h"

#define BATCH        32
#define ROUNDS       4 /* batches for one socket before others have their turn */
#define REQUEST_SIZE (SEGMENT_IPV4_MAX + SEGMENT_TCP_MAX + 8) /* longer: data, and not for us */

/* Both fit; the struct in front aligns it. */
union control {
	struct cmsghdr align;
	char v4[CMSG_SPACE(sizeof(struct in_pktinfo))];
	char v6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct raw_answer {
	int sockets[RAW_ANSWER_SOCKETS];
	const struct reflector_listen *listen;
	size_t listen_count;
	const struct conntrack *conntrack;
	uint8_t key[SIPHASH_KEY_SIZE]; /* of the SYN cookies */
	struct mmsghdr requests[BATCH];
	struct mmsghdr answers[BATCH];
	struct iovec request_parts[BATCH];
	struct iovec answer_parts[BATCH];
	struct sockaddr_storage peers[BATCH];
	union control controls[BATCH];
	uint8_t request_bytes[BATCH][REQUEST_SIZE];
	uint8_t answer_bytes[BATCH][SEGMENT_TCP_MAX];
};

static const enum addr_family families[RAW_ANSWER_SOCKETS] = {ADDR_IPV4, ADDR_IPV6};

static void reset_request(struct raw_answer *raw, size_t index)
{
	struct msghdr *header = &raw->requests[index].msg_hdr;

	header->msg_namelen = sizeof(raw->peers[index]);
	header->msg_controllen = sizeof(raw->controls[index]);
	header->msg_flags = 0;
}

static void prepare_batch(struct raw_answer *raw)
{
	for (size_t i = 0; i < BATCH; i++) {
		struct msghdr *header = &raw->requests[i].msg_hdr;

		raw->request_parts[i].iov_base = raw->request_bytes[i];
		raw->request_parts[i].iov_len = REQUEST_SIZE;
		raw->answer_parts[i].iov_base = raw->answer_bytes[i];
		header->msg_name = &raw->peers[i];
		header->msg_control = &raw->controls[i];
		header->msg_iov = &raw->request_parts[i];
		header->msg_iovlen = 1;
		reset_request(raw, i);
	}
}

/* A port may be in the list twice, for two addresses. */
static void list_ports(
	const struct raw_answer *raw, enum addr_family family, struct packet_filter *filter)
{
	memset(filter, 0, sizeof(*filter));
	filter->syn_header_min = RAW_HANDSHAKE_HEADER_MIN;
	filter->ack_option = raw->conntrack->pipe >= 0 ? RAW_HANDSHAKE_ACK_OPTION : 0;
	for (size_t i = 0; i < raw->listen_count; i++)
		if (raw->listen[i].service == REFLECTOR_FULL &&
			raw->listen[i].addr.family == family &&
			filter->destination_count < PACKET_PORT_MAX)
			filter->destinations[filter->destination_count++] =
				raw->listen[i].addr.port;
}

/* Returns a descriptor; -1 and errno, which is 0 when nobody listens in that family. */
static int open_socket(const struct raw_answer *raw, enum addr_family family)
{
	struct packet_filter filter;
	int saved;
	int fd;

	list_ports(raw, family, &filter);
	errno = 0;
	if (filter.destination_count == 0)
		return -1;
	fd = packet_open(family, MAPPING_TCP, &filter);
	if (fd < 0)
		return -1;
	if (family == ADDR_IPV4 && socket_set_flag(fd, IPPROTO_IP, IP_PKTINFO, 1) == 0)
		return fd;
	if (family == ADDR_IPV6 && socket_set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct raw_answer *raw_answer_open(const struct reflector_listen *listen, size_t listen_count,
	const struct conntrack *conntrack, const char **why)
{
	struct raw_answer *raw;
	int problem = 0;

	*why = "this kernel does not know TCP MD5 signatures (CONFIG_TCP_MD5SIG)";
	if (!packet_kernel_knows_md5())
		return NULL;
	*why = "no memory";
	raw = calloc(1, sizeof(*raw));
	if (raw == NULL)
		return NULL;
	raw->listen = listen;
	raw->listen_count = listen_count;
	raw->conntrack = conntrack;
	random_fill(raw->key, sizeof(raw->key));
	prepare_batch(raw);
	for (size_t i = 0; i < RAW_ANSWER_SOCKETS; i++) {
		raw->sockets[i] = open_socket(raw, families[i]);
		if (raw->sockets[i] < 0 && errno != 0)
			problem = errno;
	}
	if (raw->sockets[0] >= 0 || raw->sockets[1] >= 0) {
		if (problem != 0)
			log_detail("not listening for raw tcp over IPv%d: %s",
				raw->sockets[0] < 0 ? 4 : 6, strerror(problem));
		return raw;
	}
	*why = strerror(problem);
	raw_answer_close(raw);
	return NULL;
}

void raw_answer_close(struct raw_answer *raw)
{
	if (raw == NULL)
		return;
	for (size_t i = 0; i < RAW_ANSWER_SOCKETS; i++)
		if (raw->sockets[i] >= 0)
			close(raw->sockets[i]);
	free(raw);
}

int raw_answer_fd(const struct raw_answer *raw, size_t index)
{
	return raw->sockets[index];
}

static bool listens_on(const struct raw_answer *raw, const struct addr *addr)
{
	for (size_t i = 0; i < raw->listen_count; i++) {
		const struct reflector_listen *listen = &raw->listen[i];
		if (listen->service != REFLECTOR_FULL || listen->addr.family != addr->family ||
			listen->addr.port != addr->port)
			continue;
		if (addr_classify(&listen->addr) == ADDR_CLASS_UNSPECIFIED ||
			addr_equal_ip(&listen->addr, addr))
			return true;
	}
	return false;
}

/* IPv6 raw sockets tell the two addresses beside the segment, IPv4 ones in the header before it. */
static bool read_packet(const struct raw_answer *raw, size_t index, enum addr_family family,
	struct segment_packet *out)
{
	const struct msghdr *header = &raw->requests[index].msg_hdr;
	const struct cmsghdr *control = CMSG_FIRSTHDR(header);

	if (control == NULL)
		return false;
	if (family == ADDR_IPV4)
		return segment_read_ipv4(
			       out, raw->request_bytes[index], raw->requests[index].msg_len) == 0;
	memset(out, 0, sizeof(*out));
	socket_to_addr(&raw->peers[index], &out->source);
	out->destination.family = ADDR_IPV6;
	memcpy(out->destination.ip,
		&((const struct in6_pktinfo *)(const void *)CMSG_DATA(control))->ipi6_addr, 16);
	out->payload = raw->request_bytes[index];
	out->payload_size = raw->requests[index].msg_len;
	return true;
}

static bool read_request(
	struct raw_answer *raw, size_t index, enum addr_family family, struct segment *out)
{
	struct msghdr *request = &raw->requests[index].msg_hdr;
	struct segment_packet packet;

	return (request->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && udp_turn_control(request) &&
	       read_packet(raw, index, family, &packet) && segment_read_tcp(out, &packet) == 0 &&
	       listens_on(raw, &out->destination);
}

/* The last segment of a handshake of ours. Returns false for any other. */
static bool take_ack(const struct raw_answer *raw, const struct segment *segment)
{
	if (!raw_handshake_completes(segment, raw->key))
		return false;
	conntrack_forget(raw->conntrack, &segment->destination, &segment->source);
	return true;
}

static void log_answer(const struct segment *answer)
{
	char text[ADDR_TEXT_SIZE];

	if (log_admits())
		log_detail("raw %s asked, answered", addr_format(&answer->destination, text));
}

enum raw_fate {
	RAW_FATE_UNFIT,
	RAW_FATE_ANSWERED,
	RAW_FATE_TAKEN, /* an ACK, which gets no answer */
};

/* Writes the answer to one request as answers[at]. */
static enum raw_fate answer_one(
	struct raw_answer *raw, size_t index, size_t at, enum addr_family family)
{
	const struct msghdr *request = &raw->requests[index].msg_hdr;
	struct segment segment, answer;

	if (!read_request(raw, index, family, &segment))
		return RAW_FATE_UNFIT;
	if (take_ack(raw, &segment))
		return RAW_FATE_TAKEN;
	if (!raw_handshake_answer(&segment, raw->key, &answer))
		return RAW_FATE_UNFIT;
	raw->answer_parts[at].iov_len =
		segment_write_tcp(&answer, raw->answer_bytes[at], SEGMENT_TCP_MAX);
	raw->answers[at].msg_hdr = *request;
	raw->answers[at].msg_hdr.msg_flags = 0;
	raw->answers[at].msg_hdr.msg_iov = &raw->answer_parts[at];
	log_answer(&answer);
	return RAW_FATE_ANSWERED;
}

void raw_answer_serve(struct raw_answer *raw, size_t index, struct counters *counters)
{
	int fd = raw->sockets[index];

	for (int round = 0; round < ROUNDS; round++) {
		int count = recvmmsg(fd, raw->requests, BATCH, MSG_DONTWAIT, NULL);
		size_t answers = 0;
		size_t unfit = 0;

		if (count <= 0)
			return;
		for (size_t i = 0; i < (size_t)count; i++) {
			enum raw_fate fate = answer_one(raw, i, answers, families[index]);

			answers += fate == RAW_FATE_ANSWERED;
			unfit += fate == RAW_FATE_UNFIT;
		}
		socket_send_each(fd, raw->answers, answers);
		count_many(counters, COUNTER_RAW_REQUESTS, answers);
		count_many(counters, COUNTER_RAW_ANSWERS, answers);
		count_many(counters, COUNTER_RAW_UNFIT, unfit);
		for (size_t i = 0; i < (size_t)count; i++)
			reset_request(raw, i);
		if (count < BATCH)
			return;
	}
}
