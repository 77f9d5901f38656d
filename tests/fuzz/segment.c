/*
 * Fuzzes what a raw socket delivers: an IPv4 packet with a TCP segment or a UDP datagram in it, and
 * the same bytes without the IPv4 header, as IPv6 sockets have it. What is read is in bounds and is
 * written and read again as the same; what the reflector answers to is never smaller than the
 * answer; and what a home takes for an answer to its SYN is one, with an address in it.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/raw_handshake.h"

static volatile unsigned touched;

static void touch(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		touched += data[i];
}

static size_t options_size(const struct segment *segment)
{
	return (segment->has_mss ? 4U : 0U) + (segment->has_md5 ? 18U : 0U) +
	       (segment->has_timestamps ? 10U : 0U);
}

static void check_again(const struct segment *segment, const struct segment_packet *packet)
{
	static uint8_t bytes[65536], more[65536];
	size_t size = segment_write_tcp(segment, bytes, sizeof(bytes));
	struct segment_packet other = *packet;
	struct segment again;

	if (size == 0)
		return;
	other.payload = bytes;
	other.payload_size = size;
	fuzz_check(segment_read_tcp(&again, &other) == 0);
	fuzz_check(segment_write_tcp(&again, more, sizeof(more)) == size);
	fuzz_check(memcmp(bytes, more, size) == 0);
	fuzz_check(segment_checksum(SEGMENT_PROTOCOL_TCP, &segment->source, &segment->destination,
			   bytes, size) == 0);
}

static void check_answer(const struct segment *segment, size_t size)
{
	struct segment answer;
	uint8_t bytes[SEGMENT_TCP_MAX];
	static const uint8_t key[SIPHASH_KEY_SIZE];
	size_t written;

	if (!raw_handshake_answer(segment, key, &answer))
		return;
	written = segment_write_tcp(&answer, bytes, sizeof(bytes));
	fuzz_check(written > 0 && written <= size);
	fuzz_check(options_size(&answer) <= options_size(segment));
}

static void check_judgement(const struct segment *segment)
{
	static const uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x4f, 0x6a, 0x20, 0xd2};
	struct raw_handshake handshake;
	struct addr mapped;

	raw_handshake_start(&handshake, &segment->destination, &segment->source, random);
	if (raw_handshake_judge(&handshake, segment, &mapped) != RAW_HANDSHAKE_MAPPED) {
		fuzz_check(mapped.family == ADDR_NONE);
		return;
	}
	fuzz_check((segment->flags & (SEGMENT_SYN | SEGMENT_ACK)) == (SEGMENT_SYN | SEGMENT_ACK));
	fuzz_check(segment->has_md5 && segment->acknowledgment == 0x4f6a20d3);
	fuzz_check(mapped.port != 0 && mapped.family != ADDR_NONE);
}

static void check_payload(const struct segment_packet *packet)
{
	struct segment_datagram datagram;
	struct segment segment;

	if (segment_read_udp(&datagram, packet) == 0)
		touch(datagram.data, datagram.data_size);
	if (segment_read_tcp(&segment, packet) != 0)
		return;
	touch(segment.data, segment.data_size);
	check_again(&segment, packet);
	check_answer(&segment, packet->payload_size);
	check_judgement(&segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment_packet packet;

	if (segment_read_ipv4(&packet, data, size) == 0)
		check_payload(&packet);
	memset(&packet, 0, sizeof(packet));
	packet.source.family = ADDR_IPV6;
	packet.source.ip[0] = 0x20;
	packet.destination.family = ADDR_IPV6;
	packet.destination.ip[0] = 0x21;
	packet.payload = data;
	packet.payload_size = size;
	check_payload(&packet);
	return 0;
}
