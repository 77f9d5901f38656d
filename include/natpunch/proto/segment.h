/*
 * segment.h - reads and writes TCP segments and UDP datagrams, as they follow an IP header.
 *
 * TCP, RFC 9293 section 3.1:
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |          Source Port          |       Destination Port        |
 *  |                        Sequence Number                        |
 *  |                    Acknowledgment Number                      |
 *  | Offset| Rsrvd |C|E|U|A|P|R|S|F|            Window             |
 *  |           Checksum            |         Urgent Pointer        |
 *  |                           [Options]                           |
 *  |                             Data                              |
 *
 * UDP, RFC 768: source port, destination port, length, checksum; then data.
 *
 * Three options are known by name, all others are stepped over: maximum segment size (kind 2, RFC
 * 9293 3.7.1), timestamps (kind 8, RFC 7323 3.2) and the MD5 signature (kind 19, RFC 2385), whose
 * 16 bytes mean nothing here.
 *
 * Threat: a raw socket gets packets from anybody. Every length is checked before it is used; a
 * header or an option that does not fit, or a known option of a wrong length or given twice, makes
 * the packet unreadable. Checksums are written, and not checked on reading: for packets within one
 * machine the kernel has often not filled them in.
 */
#ifndef NATPUNCH_PROTO_SEGMENT_H
#define NATPUNCH_PROTO_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"

#define SEGMENT_FIN 0x01
#define SEGMENT_SYN 0x02
#define SEGMENT_RST 0x04
#define SEGMENT_PSH 0x08
#define SEGMENT_ACK 0x10

#define SEGMENT_PROTOCOL_TCP 6
#define SEGMENT_PROTOCOL_UDP 17

#define SEGMENT_IPV4_MAX 60 /* longest IPv4 header (RFC 791 3.1) */
#define SEGMENT_TCP_MIN  20
#define SEGMENT_TCP_MAX  60 /* longest TCP header: 15 words */
#define SEGMENT_UDP_SIZE 8
#define SEGMENT_MD5_SIZE 16

/* What an IP header says. The payload points into the caller's bytes. */
struct segment_packet {
	struct addr source; /* without ports */
	struct addr destination;
	uint8_t protocol;
	const uint8_t *payload;
	size_t payload_size;
};

struct segment {
	struct addr source; /* with ports */
	struct addr destination;
	uint32_t sequence;
	uint32_t acknowledgment;
	uint16_t window;
	uint8_t flags; /* SEGMENT_SYN and the like */
	bool has_mss;
	bool has_timestamps;
	bool has_md5;
	uint16_t mss;
	uint32_t timestamp;      /* TSval */
	uint32_t timestamp_echo; /* TSecr */
	uint8_t md5[SEGMENT_MD5_SIZE];
	const uint8_t *data; /* behind the header, inside the caller's bytes */
	size_t data_size;
};

struct segment_datagram {
	struct addr source; /* with ports */
	struct addr destination;
	const uint8_t *data;
	size_t data_size;
};

/*
 * Reads an IPv4 header (RFC 791 3.1) with its options stepped over. What lies behind the total
 * length is not part of the packet. A fragment is unreadable: raw sockets get whole packets.
 * Returns 0, or -1 when it is none.
 */
int segment_read_ipv4(struct segment_packet *out, const void *data, size_t size)
	__attribute__((warn_unused_result));

/*
 * Reads a TCP segment or a UDP datagram out of packet->payload; the addresses come from the packet,
 * the ports from here. The caller checks packet->protocol. Each
 * returns 0, or -1 when it is none; *out is all zero then.
 */
int segment_read_tcp(struct segment *out, const struct segment_packet *packet)
	__attribute__((warn_unused_result));
int segment_read_udp(struct segment_datagram *out, const struct segment_packet *packet)
	__attribute__((warn_unused_result));

/*
 * Writes one, with its options in the order MSS, MD5, timestamps, filled up to whole words with
 * "no operation", its data and its checksum over the pseudo-header. Both addresses must be of one
 * family. Returns the size, or 0 when it does not fit into capacity or into a packet.
 */
size_t segment_write_tcp(const struct segment *segment, void *out, size_t capacity);
size_t segment_write_udp(const struct segment_datagram *datagram, void *out, size_t capacity);

/*
 * The Internet checksum (RFC 1071) over the pseudo-header (RFC 9293 3.1, RFC 8200 8.1) and `size`
 * bytes: what to put into a field that is still zero, and 0 for one whose field is right.
 */
uint16_t segment_checksum(uint8_t protocol, const struct addr *source,
	const struct addr *destination, const void *data, size_t size);

#endif
