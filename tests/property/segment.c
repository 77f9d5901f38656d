/*
 * Random segments: what is written is read, nothing is read out of bounds however it is cut or
 * damaged, and a handshake tells any address there is, but nothing when a bit of its proof is
 * flipped. All of it on memory between guard pages.
 */
#include "natpunch/proto/segment.h"

#include "guard.h"
#include "natpunch/proto/raw_handshake.h"
#include "random.h"
#include "tap.h"

#define ROUNDS   20000
#define DATA_MAX 40

static struct random rng;
static struct guard guard;
static volatile unsigned touched;

static struct addr pick_addr(enum addr_family family)
{
	struct addr addr = {.family = (uint8_t)family};

	random_fill(&rng, addr.ip, addr_ip_size(&addr));
	addr.port = (uint16_t)random_next(&rng);
	return addr;
}

static enum addr_family pick_family(void)
{
	return random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6;
}

static struct segment pick_segment(const uint8_t data[DATA_MAX])
{
	enum addr_family family = pick_family();
	struct segment segment = {
		.source = pick_addr(family),
		.destination = pick_addr(family),
		.sequence = (uint32_t)random_next(&rng),
		.acknowledgment = (uint32_t)random_next(&rng),
		.window = (uint16_t)random_next(&rng),
		.flags = (uint8_t)random_next(&rng),
		.data = data,
		.data_size = random_below(&rng, DATA_MAX + 1),
	};

	segment.has_mss = random_once(&rng, 2);
	segment.has_md5 = random_once(&rng, 2);
	segment.has_timestamps = random_once(&rng, 2);
	if (segment.has_mss)
		segment.mss = (uint16_t)random_next(&rng);
	if (segment.has_md5)
		random_fill(&rng, segment.md5, sizeof(segment.md5));
	if (segment.has_timestamps) {
		segment.timestamp = (uint32_t)random_next(&rng);
		segment.timestamp_echo = (uint32_t)random_next(&rng);
	}
	return segment;
}

static struct segment_packet packet_of(
	const struct segment *segment, const uint8_t *payload, size_t size)
{
	struct segment_packet packet = {
		.source = segment->source,
		.destination = segment->destination,
		.payload = payload,
		.payload_size = size,
	};

	packet.source.port = 0;
	packet.destination.port = 0;
	return packet;
}

static bool segments_equal(const struct segment *a, const struct segment *b)
{
	return addr_equal(&a->source, &b->source) && addr_equal(&a->destination, &b->destination) &&
	       a->sequence == b->sequence && a->acknowledgment == b->acknowledgment &&
	       a->window == b->window && a->flags == b->flags && a->has_mss == b->has_mss &&
	       a->mss == b->mss && a->has_timestamps == b->has_timestamps &&
	       a->timestamp == b->timestamp && a->timestamp_echo == b->timestamp_echo &&
	       a->has_md5 == b->has_md5 && memcmp(a->md5, b->md5, sizeof(a->md5)) == 0 &&
	       a->data_size == b->data_size && memcmp(a->data, b->data, a->data_size) == 0;
}

/* Reads, and touches all that was read. Returns whether it was readable. */
static bool read_and_touch(const struct segment *as, const uint8_t *bytes, size_t size)
{
	struct segment_packet packet = packet_of(as, bytes, size);
	struct segment_datagram datagram;
	struct segment segment;
	unsigned sum = 0;

	if (segment_read_udp(&datagram, &packet) == 0)
		for (size_t i = 0; i < datagram.data_size; i++)
			sum += datagram.data[i];
	if (segment_read_ipv4(&packet, bytes, size) == 0)
		for (size_t i = 0; i < packet.payload_size; i++)
			sum += packet.payload[i];
	packet = packet_of(as, bytes, size);
	if (segment_read_tcp(&segment, &packet) != 0)
		return false;
	for (size_t i = 0; i < segment.data_size; i++)
		sum += segment.data[i];
	touched += sum;
	return true;
}

static bool round_trip_holds(void)
{
	uint8_t data[DATA_MAX];
	struct segment segment, back;
	struct segment_packet packet;
	uint8_t *at;
	size_t size;

	random_fill(&rng, data, sizeof(data));
	segment = pick_segment(data);
	at = guard_at_end(&guard, SEGMENT_TCP_MAX + DATA_MAX);
	size = segment_write_tcp(&segment, at, SEGMENT_TCP_MAX + DATA_MAX);
	if (size == 0 || segment_checksum(SEGMENT_PROTOCOL_TCP, &segment.source,
				 &segment.destination, at, size) != 0)
		return false;
	memmove(guard_at_end(&guard, size), at, size);
	packet = packet_of(&segment, guard_at_end(&guard, size), size);
	return segment_read_tcp(&back, &packet) == 0 && segments_equal(&segment, &back) &&
	       segment_write_tcp(&segment, guard_at_end(&guard, size), size) == size &&
	       segment_write_tcp(&segment, guard_at_end(&guard, size - 1), size - 1) == 0;
}

/* No part of a header is a header; damage may be read as another segment, but in bounds. */
static bool damage_holds(void)
{
	uint8_t data[DATA_MAX] = {0};
	uint8_t bytes[SEGMENT_TCP_MAX + DATA_MAX];
	struct segment segment = pick_segment(data);
	size_t size = segment_write_tcp(&segment, bytes, sizeof(bytes));
	size_t header = size - segment.data_size;

	for (size_t cut = 0; cut < size; cut++)
		if (read_and_touch(&segment, guard_copy_end(&guard, bytes, cut), cut) !=
			(cut >= header))
			return false;
	for (size_t bit = 0; bit < 8 * size; bit++) {
		uint8_t *at = guard_copy_end(&guard, bytes, size);
		at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		read_and_touch(&segment, at, size);
	}
	random_fill(&rng, bytes, size);
	if (size > 0)
		bytes[0] = random_once(&rng, 2) ? bytes[0] : 0x45;
	read_and_touch(&segment, guard_copy_end(&guard, bytes, size), size);
	return true;
}

static bool can_be_seen(const struct addr *addr)
{
	static const uint8_t zeros[8];
	enum addr_class class = addr_classify(addr);

	return addr->port != 0 && class != ADDR_CLASS_UNSPECIFIED &&
	       class != ADDR_CLASS_MULTICAST &&
	       (addr->family == ADDR_IPV4 || memcmp(addr->ip, zeros, sizeof(zeros)) != 0);
}

/* Any address that can be seen is told; any flipped bit of the answer's proof is noticed. */
static bool handshake_holds(void)
{
	enum addr_family family = pick_family();
	struct addr home = pick_addr(family), reflector = pick_addr(family);
	struct addr seen = pick_addr(family), mapped;
	uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE];
	struct raw_handshake handshake;
	struct segment syn, answer;
	size_t bit;

	if (!can_be_seen(&seen) || addr_equal(&seen, &reflector))
		return true;
	random_fill(&rng, random, sizeof(random));
	raw_handshake_start(&handshake, &home, &reflector, random);
	raw_handshake_make_syn(&handshake, &syn);
	syn.source = seen;
	if (!raw_handshake_answer(&syn, random, &answer))
		return false;
	answer.destination = home;
	if (raw_handshake_judge(&handshake, &answer, &mapped) != RAW_HANDSHAKE_MAPPED ||
		!addr_equal(&mapped, &seen))
		return false;
	bit = random_below(&rng, family == ADDR_IPV4 ? 64 : 128);
	answer.md5[bit / 8] ^= (uint8_t)(1 << bit % 8);
	return raw_handshake_judge(&handshake, &answer, &mapped) == RAW_HANDSHAKE_MALFORMED;
}

/* A SYN with any option of 16 bytes but a marked one is nobody's business. */
static bool strangers_hold(void)
{
	static const uint8_t key[SIPHASH_KEY_SIZE];
	uint8_t data[DATA_MAX] = {0};
	struct segment segment = pick_segment(data), answer;

	segment.flags = SEGMENT_SYN;
	segment.has_md5 = true;
	segment.data_size = 0;
	return !raw_handshake_answer(&segment, key, &answer);
}

static void check(const char *name, bool (*holds)(void), unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (holds())
			continue;
		fail("%s, in round %u", name, i);
		return;
	}
	ok(true, "%s, %u times", name, rounds);
}

int main(void)
{
	rng = random_start();
	guard = guard_make(4096);
	check("what is written is read", round_trip_holds, ROUNDS);
	check("cuts and flipped bits stay in bounds", damage_holds, ROUNDS / 40);
	check("a handshake tells what was seen, or nothing", handshake_holds, ROUNDS);
	check("other SYNs with the option get no answer", strangers_hold, ROUNDS);
	return done_testing();
}
