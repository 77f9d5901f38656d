#include "natpunch/proto/raw_handshake.h"

#include <string.h>

#include "natpunch/proto/stun.h"
#include "natpunch/base/wire.h"

#define RANDOM_NONCE 12 /* bytes of the nonce that are random */
#define MARK_XOR     0x6e617470U
#define WINDOW       65535
#define ETHERNET_MTU 1500 /* what the maximum segment size is made of (RFC 9293 3.7.1) */
#define IPV4_HEADER  20
#define IPV6_HEADER  40
#define OPENING      (SEGMENT_SYN | SEGMENT_ACK | SEGMENT_RST | SEGMENT_FIN)

/* Where things stand in the nonce. */
#define NONCE_SEAL 0
#define NONCE_MARK RANDOM_NONCE

/* An address as the option holds it, before the xor. */
#define FORM_SIZE  SEGMENT_MD5_SIZE
#define FORM_PORT  8
#define FORM_ONES  10
#define FORM_IPV4  12
#define FORM_ZEROS 8

#define COOKIE_SIZE (2 * 16 + 2 * 2 + 4 + SEGMENT_MD5_SIZE)

static uint32_t read_word(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static uint32_t compute_mark(const uint8_t nonce[SEGMENT_MD5_SIZE])
{
	return stun_crc32(nonce, RANDOM_NONCE) ^ MARK_XOR;
}

static void write_form(const struct addr *addr, uint8_t form[FORM_SIZE])
{
	memset(form, 0, FORM_SIZE);
	if (addr->family == ADDR_IPV6) {
		memcpy(form, addr->ip, FORM_SIZE);
		return;
	}
	form[FORM_PORT] = (uint8_t)(addr->port >> 8);
	form[FORM_PORT + 1] = (uint8_t)(addr->port & 0xff);
	memset(form + FORM_ONES, 0xff, 2);
	memcpy(form + FORM_IPV4, addr->ip, 4);
}

/* The port of an IPv6 address is not in its form: it stays 0. */
static void read_form(const uint8_t form[FORM_SIZE], struct addr *out)
{
	static const uint8_t zeros[FORM_ZEROS];

	memset(out, 0, sizeof(*out));
	if (memcmp(form, zeros, FORM_ZEROS) != 0 || form[FORM_ONES] != 0xff ||
		form[FORM_ONES + 1] != 0xff) {
		out->family = ADDR_IPV6;
		memcpy(out->ip, form, FORM_SIZE);
		return;
	}
	out->family = ADDR_IPV4;
	out->port = (uint16_t)(form[FORM_PORT] << 8 | form[FORM_PORT + 1]);
	memcpy(out->ip, form + FORM_IPV4, 4);
}

static void mask_form(uint8_t form[FORM_SIZE], const uint8_t nonce[SEGMENT_MD5_SIZE])
{
	for (size_t i = 0; i < FORM_SIZE; i++)
		form[i] ^= nonce[i];
}

static uint16_t compute_check(
	const uint8_t nonce[SEGMENT_MD5_SIZE], const uint8_t form[FORM_SIZE], uint16_t port)
{
	uint8_t bytes[SEGMENT_MD5_SIZE + FORM_SIZE + 2];

	memcpy(bytes, nonce, SEGMENT_MD5_SIZE);
	memcpy(bytes + SEGMENT_MD5_SIZE, form, FORM_SIZE);
	bytes[SEGMENT_MD5_SIZE + FORM_SIZE] = (uint8_t)(port >> 8);
	bytes[SEGMENT_MD5_SIZE + FORM_SIZE + 1] = (uint8_t)(port & 0xff);
	return (uint16_t)(stun_crc32(bytes, sizeof(bytes)) & 0xffff);
}

void raw_handshake_start(struct raw_handshake *handshake, const struct addr *local,
	const struct addr *remote, const uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE])
{
	struct wire_writer mark;

	memset(handshake, 0, sizeof(*handshake));
	handshake->local = *local;
	handshake->remote = *remote;
	memcpy(handshake->nonce, random, RANDOM_NONCE);
	wire_writer_start(&mark, handshake->nonce + NONCE_MARK, 4);
	wire_write_u32(&mark, compute_mark(handshake->nonce));
	handshake->sequence = read_word(random + RANDOM_NONCE);
	handshake->timestamp = read_word(random + RANDOM_NONCE + 4);
}

static uint16_t usual_mss(const struct addr *addr)
{
	return ETHERNET_MTU - SEGMENT_TCP_MIN -
	       (addr->family == ADDR_IPV6 ? IPV6_HEADER : IPV4_HEADER);
}

static void make_segment(const struct raw_handshake *handshake, struct segment *out)
{
	memset(out, 0, sizeof(*out));
	out->source = handshake->local;
	out->destination = handshake->remote;
	out->window = WINDOW;
	out->has_md5 = true;
	out->has_timestamps = true;
	out->timestamp = handshake->timestamp;
	memcpy(out->md5, handshake->nonce, sizeof(out->md5));
}

void raw_handshake_make_syn(const struct raw_handshake *handshake, struct segment *out)
{
	make_segment(handshake, out);
	out->flags = SEGMENT_SYN;
	out->sequence = handshake->sequence;
	out->has_mss = true;
	out->mss = usual_mss(&handshake->local);
}

void raw_handshake_make_ack(
	const struct raw_handshake *handshake, const struct segment *syn_ack, struct segment *out)
{
	make_segment(handshake, out);
	out->flags = SEGMENT_ACK;
	out->sequence = handshake->sequence + 1;
	out->acknowledgment = syn_ack->sequence + 1;
	out->timestamp_echo = syn_ack->timestamp;
}

void raw_handshake_make_reset(const struct raw_handshake *handshake, struct segment *out)
{
	make_segment(handshake, out);
	out->flags = SEGMENT_RST;
	out->sequence = handshake->sequence + 1;
	out->window = 0;
}

/* With IPv4 the form proves itself, and a path may have changed the timestamps. */
static bool seal_holds(
	const struct raw_handshake *handshake, const struct segment *received, struct addr *mapped)
{
	uint32_t mask = received->timestamp ^ read_word(handshake->nonce + NONCE_SEAL);

	if (mapped->family == ADDR_IPV4)
		return true;
	if (!received->has_timestamps || received->timestamp_echo != handshake->timestamp)
		return false;
	mapped->port = (uint16_t)(mask >> 16);
	return (mask & 0xffff) == compute_check(handshake->nonce, mapped->ip, mapped->port);
}

static bool can_be_mapped(const struct addr *addr)
{
	enum addr_class class = addr_classify(addr);

	return addr->port != 0 && class != ADDR_CLASS_UNSPECIFIED && class != ADDR_CLASS_MULTICAST;
}

static enum raw_handshake_outcome read_answer(
	const struct raw_handshake *handshake, const struct segment *received, struct addr *mapped)
{
	uint8_t form[FORM_SIZE];
	struct addr found;

	memcpy(form, received->md5, sizeof(form));
	mask_form(form, handshake->nonce);
	read_form(form, &found);
	/* Over IPv4 nobody can have been seen from an IPv6 address. */
	if (found.family == ADDR_IPV6 && handshake->remote.family == ADDR_IPV4)
		return RAW_HANDSHAKE_MALFORMED;
	if (!seal_holds(handshake, received, &found) || !can_be_mapped(&found))
		return RAW_HANDSHAKE_MALFORMED;
	*mapped = found;
	return RAW_HANDSHAKE_MAPPED;
}

enum raw_handshake_outcome raw_handshake_judge(
	const struct raw_handshake *handshake, const struct segment *received, struct addr *mapped)
{
	memset(mapped, 0, sizeof(*mapped));
	if (!addr_equal(&received->source, &handshake->remote) ||
		!addr_equal(&received->destination, &handshake->local))
		return RAW_HANDSHAKE_UNRELATED;
	if ((received->flags & SEGMENT_ACK) == 0 ||
		received->acknowledgment != handshake->sequence + 1)
		return RAW_HANDSHAKE_UNRELATED;
	if ((received->flags & SEGMENT_RST) != 0)
		return RAW_HANDSHAKE_RESET;
	if ((received->flags & OPENING) != (SEGMENT_SYN | SEGMENT_ACK))
		return RAW_HANDSHAKE_UNRELATED;
	if (!received->has_md5)
		return RAW_HANDSHAKE_STRIPPED;
	return read_answer(handshake, received, mapped);
}

static bool is_request(const struct segment *syn)
{
	enum addr_class from = addr_classify(&syn->source);

	if ((syn->flags & OPENING) != SEGMENT_SYN || syn->data_size != 0 || !syn->has_md5)
		return false;
	if (syn->source.family == ADDR_IPV6 && !syn->has_timestamps)
		return false;
	/* No host can be answered there, and an answer to our own port would be a request again. */
	if (syn->source.port == 0 || from == ADDR_CLASS_UNSPECIFIED ||
		from == ADDR_CLASS_MULTICAST || addr_equal(&syn->source, &syn->destination))
		return false;
	return read_word(syn->md5 + NONCE_MARK) == compute_mark(syn->md5);
}

/* Of a SYN, or of an ACK whose sequence number is one higher: `sequence` is the SYN's. */
static uint32_t compute_cookie(
	const struct segment *segment, uint32_t sequence, const uint8_t key[SIPHASH_KEY_SIZE])
{
	uint8_t bytes[COOKIE_SIZE] = {0};
	struct wire_writer writer;

	wire_writer_start(&writer, bytes, sizeof(bytes));
	wire_write_bytes(&writer, segment->source.ip, sizeof(segment->source.ip));
	wire_write_bytes(&writer, segment->destination.ip, sizeof(segment->destination.ip));
	wire_write_u16(&writer, segment->source.port);
	wire_write_u16(&writer, segment->destination.port);
	wire_write_u32(&writer, sequence);
	wire_write_bytes(&writer, segment->md5, sizeof(segment->md5));
	return (uint32_t)siphash(key, bytes, sizeof(bytes));
}

bool raw_handshake_completes(const struct segment *ack, const uint8_t key[SIPHASH_KEY_SIZE])
{
	return (ack->flags & OPENING) == SEGMENT_ACK && ack->has_md5 &&
	       ack->acknowledgment == compute_cookie(ack, ack->sequence - 1, key) + 1;
}

bool raw_handshake_answer(
	const struct segment *syn, const uint8_t key[SIPHASH_KEY_SIZE], struct segment *out)
{
	uint8_t form[FORM_SIZE];
	uint32_t mask;

	memset(out, 0, sizeof(*out));
	if (!is_request(syn))
		return false;
	write_form(&syn->source, form);
	mask = (uint32_t)syn->source.port << 16 | compute_check(syn->md5, form, syn->source.port);
	out->source = syn->destination;
	out->destination = syn->source;
	out->flags = SEGMENT_SYN | SEGMENT_ACK;
	out->sequence = compute_cookie(syn, syn->sequence, key);
	out->acknowledgment = syn->sequence + 1;
	out->window = WINDOW;
	out->has_mss = syn->has_mss;
	out->mss = usual_mss(&syn->source);
	out->has_timestamps = syn->has_timestamps;
	out->timestamp = mask ^ read_word(syn->md5 + NONCE_SEAL);
	out->timestamp_echo = syn->timestamp;
	out->has_md5 = true;
	mask_form(form, syn->md5);
	memcpy(out->md5, form, sizeof(out->md5));
	return true;
}
