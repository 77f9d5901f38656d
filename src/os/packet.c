#include "natpunch/os/packet.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/socket.h"

/* Offsets in a TCP header; the ports are the same in UDP. */
#define AT_SOURCE      0
#define AT_DESTINATION 2
#define AT_OFFSET      12
#define AT_FLAGS       13
#define AT_OPTIONS     20

#define TYPE_MASK     0xf /* of socket(2), without SOCK_CLOEXEC and SOCK_NONBLOCK */
#define ACCEPT_ALL    0xffffffffU
#define PROGRAM_FIXED 24 /* instructions besides the two for each port, at most */

const struct sandbox_call packet_calls[] = {
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_INET, 1, TYPE_MASK, SOCK_RAW),
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_INET6, 1, TYPE_MASK, SOCK_RAW),
	SANDBOX_END,
};

struct program {
	struct sock_filter code[PROGRAM_FIXED + 2 * PACKET_PORT_MAX];
	unsigned short length;
};

static void add(struct program *program, uint16_t code, uint8_t yes, uint8_t no, uint32_t value)
{
	program->code[program->length++] =
		(struct sock_filter){.code = code, .jt = yes, .jf = no, .k = value};
}

static void add_load(struct program *program, uint16_t size, uint32_t offset)
{
	add(program, BPF_LD | size | BPF_IND, 0, 0, offset);
}

static void add_return(struct program *program, uint32_t bytes)
{
	add(program, BPF_RET | BPF_K, 0, 0, bytes);
}

/* Goes on when the accumulator compares as wanted, else drops. */
static void add_demand(struct program *program, uint16_t comparison, uint32_t value)
{
	add(program, (uint16_t)(BPF_JMP | comparison | BPF_K), 1, 0, value);
	add_return(program, 0);
}

/* The register X becomes the size of the IP header that is in front. */
static void add_skip_header(struct program *program, enum addr_family family)
{
	if (family == ADDR_IPV4)
		add(program, BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0);
	else
		add(program, BPF_LDX | BPF_IMM, 0, 0, 0);
}

static void add_destinations(struct program *program, const struct packet_filter *filter)
{
	add_load(program, BPF_H, AT_DESTINATION);
	for (size_t i = 0; i < filter->destination_count; i++) {
		size_t left = filter->destination_count - i;
		/* To behind the last comparison and the "drop" that follows it. */
		add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)left, 0, filter->destinations[i]);
	}
	add_return(program, 0);
}

/* In front of what is for SYNs: ACKs (no SYN, RST, FIN) go their own way, all others go on. */
static void add_ack(struct program *program, uint16_t option)
{
	add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SEGMENT_ACK);
	add_load(program, BPF_H, AT_OPTIONS);
	add_demand(program, BPF_JEQ, option);
	add_return(program, ACCEPT_ALL);
}

static void add_syn(struct program *program, const struct packet_filter *filter)
{
	add_load(program, BPF_B, AT_FLAGS);
	add(program, BPF_ALU | BPF_AND | BPF_K, 0, 0,
		SEGMENT_SYN | SEGMENT_ACK | SEGMENT_RST | SEGMENT_FIN);
	if (filter->ack_option != 0)
		add_ack(program, filter->ack_option);
	add_demand(program, BPF_JEQ, SEGMENT_SYN);
	add_load(program, BPF_B, AT_OFFSET);
	/* The offset is the upper four bits, in words of four bytes. */
	add_demand(program, BPF_JGE, (uint32_t)(filter->syn_header_min / 4) << 4);
}

static int attach(int fd, enum addr_family family, const struct packet_filter *filter)
{
	struct program program = {.length = 0};
	struct sock_fprog attached = {.filter = program.code};

	if (filter->destination_count > PACKET_PORT_MAX) {
		errno = EINVAL;
		return -1;
	}
	add_skip_header(&program, family);
	if (filter->source != 0) {
		add_load(&program, BPF_H, AT_SOURCE);
		add_demand(&program, BPF_JEQ, filter->source);
	}
	add_destinations(&program, filter);
	if (filter->syn_header_min != 0)
		add_syn(&program, filter);
	add_return(&program, ACCEPT_ALL);
	attached.len = program.length;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof(attached));
}

int packet_open(
	enum addr_family family, enum mapping_protocol protocol, const struct packet_filter *filter)
{
	int fd = socket_open(family, SOCK_RAW, (int)protocol);
	int saved;

	if (fd < 0)
		return -1;
	if (attach(fd, family, filter) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int packet_receive(
	int fd, const struct addr *local, void *buffer, size_t capacity, struct segment_packet *out)
{
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	ssize_t got = recvfrom(fd, buffer, capacity, MSG_TRUNC, (struct sockaddr *)&from, &size);

	if (got < 0)
		return -1;
	if ((size_t)got > capacity)
		return 0;
	if (local->family == ADDR_IPV4)
		return segment_read_ipv4(out, buffer, (size_t)got) == 0;
	memset(out, 0, sizeof(*out));
	socket_to_addr(&from, &out->source);
	out->source.port = 0;
	out->destination = *local;
	out->destination.port = 0;
	out->payload = buffer;
	out->payload_size = (size_t)got;
	return 1;
}

/*
 * Asks to have a key removed that is not there. Only a kernel that has no such thing at all says
 * that it does not know the option.
 */
bool packet_kernel_knows_md5(void)
{
	int fd = socket_open(ADDR_IPV4, SOCK_STREAM, IPPROTO_TCP);
	struct tcp_md5sig none;
	struct sockaddr_in *peer = (struct sockaddr_in *)(void *)&none.tcpm_addr;
	bool knows;

	if (fd < 0)
		return true;
	memset(&none, 0, sizeof(none));
	peer->sin_family = AF_INET;
	peer->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	knows = setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &none, sizeof(none)) == 0 ||
		errno != ENOPROTOOPT;
	close(fd);
	return knows;
}
