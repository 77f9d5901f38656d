/*
 * TCP segments made and read by hand, for raw sockets. RFC 9293, section 3.1:
 *
 *	 0                   1                   2                   3
 *	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *	+-------------------------------+-------------------------------+
 *	|          Source Port          |       Destination Port        |
 *	|                        Sequence Number                        |
 *	|                    Acknowledgment Number                      |
 *	| Offset| Rsrvd |C|E|U|A|P|R|S|F|            Window             |
 *	|           Checksum            |         Urgent Pointer        |
 *	|                           [Options]                           |
 *	|                             Data                              |
 *
 * The options used here are an MSS (kind 2, four bytes: a SYN without one is rare, and shunned by
 *some firewalls), two NOP and one option of 18 bytes, which is the MD5 signature (kind 19, RFC
 *2385) or, to compare with, an experimental one (kind 253, RFC 4727).
 */
#ifndef NATPUNCH_TESTS_SEGMENT_H
#define NATPUNCH_TESTS_SEGMENT_H

#include "platform.h"

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10

#define OPTION_NONE         0
#define OPTION_MD5          19
#define OPTION_EXPERIMENTAL 253

#define OPTION_CONTENT 16
#define SEGMENT_DATA   64

struct segment {
	union address from;
	union address to;
	uint32_t seq;
	uint32_t ack;
	uint16_t window;
	uint8_t flags;
	uint8_t option; /* OPTION_NONE, OPTION_MD5 or OPTION_EXPERIMENTAL */
	uint8_t content[OPTION_CONTENT];
	size_t data_size;
	uint8_t data[SEGMENT_DATA];
	bool checksum_holds; /* of a segment received */
};

static inline void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)(value & 0xff);
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)(value & 0xffff));
}

static inline uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static inline uint32_t sum16(const void *bytes, size_t size, uint32_t sum)
{
	const uint8_t *at = bytes;

	for (; size >= 2; size -= 2, at += 2)
		sum += get16(at);
	if (size == 1)
		sum += (uint32_t)at[0] << 8;
	return sum;
}

/*
 * The checksum over the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1) and the
 * segment: what to put into a segment whose field is zero, and zero for one whose field is right.
 */
static inline uint16_t segment_checksum(
	const union address *from, const union address *to, const uint8_t *bytes, size_t size)
{
	uint32_t sum = IPPROTO_TCP + (uint32_t)size;

	if (from->any.sa_family == AF_INET6) {
		sum = sum16(&from->v6.sin6_addr, 16, sum);
		sum = sum16(&to->v6.sin6_addr, 16, sum);
	} else {
		sum = sum16(&from->v4.sin_addr, 4, sum);
		sum = sum16(&to->v4.sin_addr, 4, sum);
	}
	sum = sum16(bytes, size, sum);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(~sum & 0xffff);
}

static inline int raw_socket(int family)
{
	struct timeval patience = {.tv_sec = PATIENCE / 1000};
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		bail_out("raw socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		bail_out("SO_RCVTIMEO: %s", strerror(errno));
	return fd;
}

/* Sends a segment; the kernel adds the IP header. */
static inline void segment_send(int fd, const struct segment *segment)
{
	uint8_t bytes[20 + 24 + SEGMENT_DATA] = {0};
	union address to = segment->to;
	size_t size = 20;

	put16(bytes, address_port(&segment->from));
	put16(bytes + 2, address_port(&segment->to));
	put32(bytes + 4, segment->seq);
	put32(bytes + 8, segment->ack);
	bytes[13] = segment->flags;
	put16(bytes + 14, segment->window);
	if (segment->flags & FLAG_SYN) {
		memcpy(bytes + size, (const uint8_t[]){2, 4, 1460 >> 8, 1460 & 0xff}, 4);
		size += 4;
	}
	if (segment->option != OPTION_NONE) {
		memcpy(bytes + size, (const uint8_t[]){1, 1, segment->option, 18}, 4);
		memcpy(bytes + size + 4, segment->content, OPTION_CONTENT);
		size += 20;
	}
	bytes[12] = (uint8_t)(size / 4 << 4);
	memcpy(bytes + size, segment->data, segment->data_size);
	size += segment->data_size;
	put16(bytes + 16, segment_checksum(&segment->from, &segment->to, bytes, size));

	/* A raw IPv6 socket takes a port for a protocol. */
	to.v4.sin_port = 0;
	if (sendto(fd, bytes, size, 0, &to.any, address_size(&to)) != (ssize_t)size)
		bail_out("raw send: %s", strerror(errno));
}

/* Reads MD5 and experimental options; anything else is passed over. */
static inline void segment_read_options(struct segment *segment, const uint8_t *at, size_t size)
{
	while (size > 0 && at[0] != 0) {
		size_t length = at[0] == 1 ? 1 : size >= 2 ? at[1] : 0;

		if (length == 0 || length > size || (at[0] != 1 && length < 2))
			return;
		if ((at[0] == OPTION_MD5 || at[0] == OPTION_EXPERIMENTAL) && length == 18) {
			segment->option = at[0];
			memcpy(segment->content, at + 2, OPTION_CONTENT);
		}
		at += length;
		size -= length;
	}
}

/* Reads a segment without its IP header. Returns whether it is whole. */
static inline bool segment_read(struct segment *segment, const uint8_t *at, size_t size)
{
	size_t offset;

	if (size < 20)
		return false;
	offset = (size_t)(at[12] >> 4) * 4;
	if (offset < 20 || offset > size)
		return false;
	segment->from.v4.sin_port = htons(get16(at));
	segment->to.v4.sin_port = htons(get16(at + 2));
	segment->seq = get32(at + 4);
	segment->ack = get32(at + 8);
	segment->flags = at[13];
	segment->window = get16(at + 14);
	segment->checksum_holds = segment_checksum(&segment->from, &segment->to, at, size) == 0;
	segment_read_options(segment, at + 20, offset - 20);
	segment->data_size = size - offset < SEGMENT_DATA ? size - offset : SEGMENT_DATA;
	memcpy(segment->data, at + offset, segment->data_size);
	return true;
}

/*
 * Receives the next segment that came to an address. An IPv4 raw socket delivers the IP header as
 * well, an IPv6 one does not. Returns whether one came within PATIENCE.
 */
static inline bool segment_receive(int fd, const union address *local, struct segment *segment)
{
	uint8_t bytes[2048];

	for (;;) {
		socklen_t length = sizeof(segment->from);
		size_t header = 0;
		ssize_t got;

		memset(segment, 0, sizeof(*segment));
		got = recvfrom(fd, bytes, sizeof(bytes), 0, &segment->from.any, &length);
		if (got < 0)
			return false;
		segment->to = *local;
		if (local->any.sa_family == AF_INET)
			header = (size_t)(bytes[0] & 0xf) * 4;
		if (header <= (size_t)got &&
			segment_read(segment, bytes + header, (size_t)got - header))
			return true;
	}
}

/*
 * Receives what comes to an address until a segment from mark_port comes, and looks out for the
 * first one between the two ports given. Returns whether there was one.
 */
static inline bool segment_find(int fd, const union address *local, uint16_t from_port,
	uint16_t to_port, uint16_t mark_port, struct segment *found)
{
	bool is_found = false;

	for (;;) {
		struct segment segment;

		if (!segment_receive(fd, local, &segment))
			bail_out("the marking segment did not come");
		if (address_port(&segment.from) == mark_port)
			return is_found;
		if (is_found || address_port(&segment.from) != from_port ||
			address_port(&segment.to) != to_port)
			continue;
		is_found = true;
		*found = segment;
	}
}

#endif
