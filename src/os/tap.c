#include "natpunch/os/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/proto/segment.h"

#define PACKET_SIZE 2048

/* Offsets behind the link layer: RFC 791 3.1, RFC 8200 3; no extension headers are looked behind.
 */
#define IPV4_PROTOCOL    9
#define IPV6_NEXT_HEADER 6
#define IPV6_SIZE        40
#define AT_DESTINATION   2
#define TCP_FLAGS        13

#define CODE_MAX 10

const struct sandbox_call tap_calls[] = {
	SANDBOX_WHEN(socket, 0, SANDBOX_WHOLE, AF_PACKET),
	SANDBOX_END,
};

static unsigned short build_filter(struct sock_filter code[CODE_MAX], enum addr_family family,
	enum mapping_protocol protocol, uint16_t port)
{
	unsigned short n = 0;
	bool v4 = family == ADDR_IPV4;
	bool tcp = protocol == MAPPING_TCP;
	uint8_t left = tcp ? 5 : 2;

	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_B | BPF_ABS, v4 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER);
	code[n++] = (struct sock_filter)BPF_JUMP(
		BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)protocol, 0, (uint8_t)(left + 2));
	code[n++] = v4 ? (struct sock_filter)BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0)
		       : (struct sock_filter)BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, IPV6_SIZE);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_IND, AT_DESTINATION);
	code[n++] = port != TAP_ANY_PORT ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						   port, 0, (uint8_t)(left - 1))
					 : (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0);
	if (tcp) {
		code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_IND, TCP_FLAGS);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K,
			SEGMENT_SYN | SEGMENT_ACK | SEGMENT_RST | SEGMENT_FIN);
		code[n++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SEGMENT_SYN, 0, 1);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, PACKET_SIZE);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	return n;
}

int tap_open(enum addr_family family, enum mapping_protocol protocol, uint16_t port)
{
	uint16_t ethernet = htons(family == ADDR_IPV4 ? ETH_P_IP : ETH_P_IPV6);
	struct sock_filter code[CODE_MAX];
	struct sock_fprog program = {
		.len = build_filter(code, family, protocol, port), .filter = code};
	/* With protocol 0 it receives nothing until its filter is set. */
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_ll everywhere = {.sll_family = AF_PACKET, .sll_protocol = ethernet};
	int saved;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 &&
		bind(fd, (struct sockaddr *)&everywhere, sizeof(everywhere)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* An IPv6 header without extensions, as the filter lets through. */
static int read_ipv6(struct segment_packet *out, const uint8_t *data, size_t size)
{
	memset(out, 0, sizeof(*out));
	if (size < IPV6_SIZE || data[0] >> 4 != 6)
		return -1;
	out->protocol = data[IPV6_NEXT_HEADER];
	out->source.family = out->destination.family = ADDR_IPV6;
	memcpy(out->source.ip, data + 8, 16);
	memcpy(out->destination.ip, data + 24, 16);
	out->payload = data + IPV6_SIZE;
	out->payload_size = size - IPV6_SIZE;
	return 0;
}

/* Packets that go out, and those for another host that a bridge or a network without a switch
 * shows. */
static bool is_for_others(const struct sockaddr_ll *from)
{
	return from->sll_pkttype == PACKET_OUTGOING || from->sll_pkttype == PACKET_OTHERHOST;
}

int tap_receive(int fd, enum mapping_protocol protocol, struct addr *source,
	struct addr *destination, void *data, size_t capacity, size_t *size)
{
	uint8_t bytes[PACKET_SIZE];
	struct sockaddr_ll from = {.sll_protocol = 0};
	socklen_t from_size = sizeof(from);
	struct segment_packet packet;
	struct segment segment;
	struct segment_datagram datagram;
	ssize_t got = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &from_size);

	*size = 0;
	if (got < 0)
		return -1;
	if (is_for_others(&from))
		return 0;
	if (from.sll_protocol == htons(ETH_P_IP)
			? segment_read_ipv4(&packet, bytes, (size_t)got) != 0
			: read_ipv6(&packet, bytes, (size_t)got) != 0)
		return 0;
	if (protocol == MAPPING_TCP) {
		if (segment_read_tcp(&segment, &packet) != 0)
			return 0;
		*source = segment.source;
		if (destination != NULL)
			*destination = segment.destination;
		return 1;
	}
	if (segment_read_udp(&datagram, &packet) != 0)
		return 0;
	*source = datagram.source;
	if (destination != NULL)
		*destination = datagram.destination;
	*size = datagram.data_size < capacity ? datagram.data_size : capacity;
	memcpy(data, datagram.data, *size);
	return 1;
}

bool tap_has_lost(int fd)
{
	struct tpacket_stats seen;
	socklen_t size = sizeof(seen);

	return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &seen, &size) != 0 ||
	       seen.tp_drops > 0;
}
