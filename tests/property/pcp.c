/*
 * A request and an answer to it fit together, and no other: whatever byte of an answer is changed,
 * it stays an answer only where the byte says nothing of which request it is for; and one for
 * another nonce never passes.
 */
#include "natpunch/proto/pcp.h"

#include <string.h>

#include "guard.h"
#include "natpunch/base/wire.h"
#include "random.h"
#include "tap.h"

#define ROUNDS   3000
#define MAP_SIZE 60
#define NONCE_AT 24

static struct random rng;
static struct guard guard;

static struct pcp_request pick_request(void)
{
	struct pcp_request request = {
		.kind = (enum pcp_kind)random_below(&rng, 4),
		.protocol = random_once(&rng, 2) ? MAPPING_TCP : MAPPING_UDP,
		.internal_port = (uint16_t)(1 + random_below(&rng, 65535)),
		.external_port = (uint16_t)random_number(&rng),
		.lifetime = (uint32_t)random_number(&rng),
	};

	request.client.family = random_once(&rng, 2) ? ADDR_IPV6 : ADDR_IPV4;
	random_fill(&rng, request.client.ip, addr_ip_size(&request.client));
	random_fill(&rng, request.nonce, sizeof(request.nonce));
	return request;
}

static void write_external(struct wire_writer *writer, const struct addr *external)
{
	if (external->family == ADDR_IPV4) {
		wire_write_zeros(writer, 10);
		wire_write_u16(writer, 0xffff);
	}
	wire_write_bytes(writer, external->ip, addr_ip_size(external));
}

/* What an honest router answers, made of the bytes of the request. Returns its size. */
static size_t answer_of(const struct pcp_request *request, const struct pcp_answer *answer,
	uint8_t bytes[PCP_ANSWER_MAX])
{
	uint8_t asked[PCP_REQUEST_MAX] = {0};
	struct wire_writer writer;

	pcp_write(request, asked);
	wire_writer_start(&writer, bytes, PCP_ANSWER_MAX);
	wire_write_u8(&writer, asked[0]);
	wire_write_u8(&writer, asked[1] | 0x80);
	wire_write_u16(&writer, answer->result);
	if (asked[0] != 0)
		wire_write_u32(&writer, answer->lifetime);
	wire_write_u32(&writer, answer->epoch);
	if (request->kind == PCP_NAT_PMP_ADDRESS) {
		wire_write_bytes(&writer, answer->external.ip, 4);
	} else if (request->kind == PCP_NAT_PMP_MAP) {
		wire_write_u16(&writer, request->internal_port);
		wire_write_u16(&writer, answer->external.port);
		wire_write_u32(&writer, answer->lifetime);
	} else {
		wire_write_zeros(&writer, 12);
	}
	if (request->kind == PCP_MAP) {
		wire_write_bytes(&writer, asked + NONCE_AT, 18);
		wire_write_u16(&writer, answer->external.port);
		write_external(&writer, &answer->external);
	}
	return writer.offset;
}

static struct pcp_answer pick_answer(const struct pcp_request *request)
{
	struct pcp_answer answer = {
		.result = (uint16_t)(random_once(&rng, 2) ? 0 : 2 + random_below(&rng, 250)),
		.epoch = (uint32_t)random_number(&rng),
	};

	if (request->kind != PCP_NAT_PMP_ADDRESS)
		answer.lifetime = 1 + (uint32_t)random_below(&rng, 1000000);
	if (request->kind == PCP_MAP || request->kind == PCP_NAT_PMP_ADDRESS) {
		answer.external.family =
			request->kind == PCP_MAP ? request->client.family : ADDR_IPV4;
		random_fill(&rng, answer.external.ip, addr_ip_size(&answer.external));
	}
	if (request->kind == PCP_MAP || request->kind == PCP_NAT_PMP_MAP)
		answer.external.port = (uint16_t)(1 + random_below(&rng, 65535));
	return answer;
}

static bool round_trip_holds(void)
{
	const struct pcp_request request = pick_request();
	struct pcp_answer made = pick_answer(&request), got;
	uint8_t bytes[PCP_ANSWER_MAX];
	size_t size = answer_of(&request, &made, bytes);
	uint8_t *at = guard_copy_end(&guard, bytes, size);

	return pcp_read(&request, at, size, &got) == PCP_READ_ANSWER && got.result == made.result &&
	       got.epoch == made.epoch && got.lifetime == made.lifetime &&
	       got.external.port == made.external.port &&
	       (made.external.family == ADDR_NONE || addr_equal(&got.external, &made.external));
}

/* Any bytes, with and without the header of an answer; each ends where memory does. */
static bool bounds_hold(void)
{
	const struct pcp_request request = pick_request();
	struct pcp_answer made = pick_answer(&request), got;
	uint8_t bytes[PCP_ANSWER_MAX];
	size_t size = answer_of(&request, &made, bytes);
	uint8_t *at;

	if (random_once(&rng, 2))
		size = random_below(&rng, size + 1);
	else
		size = random_below(&rng, 80);
	at = guard_copy_end(&guard, bytes, size);
	for (size_t flips = random_below(&rng, 4); flips > 0 && size > 0; flips--)
		at[random_below(&rng, size)] ^= (uint8_t)(1 << random_below(&rng, 8));
	pcp_read(&request, at, size, &got);
	return true;
}

/* MAP of PCP: all that is of the request, and a bit of it changed. */
static bool other_request_never_passes(void)
{
	static const size_t told[] = {
		0, 1, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 40, 41};
	struct pcp_request request = pick_request();
	struct pcp_answer made, got;
	uint8_t bytes[PCP_ANSWER_MAX];
	size_t size;

	request.kind = PCP_MAP;
	made = pick_answer(&request);
	size = answer_of(&request, &made, bytes);
	bytes[told[random_below(&rng, sizeof(told) / sizeof(told[0]))]] ^=
		(uint8_t)(1 << random_below(&rng, 8));
	return pcp_read(&request, bytes, size, &got) != PCP_READ_ANSWER;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(PCP_ANSWER_MAX);
	for (round = 0; round < ROUNDS && round_trip_holds(); round++)
		;
	is_int(round, ROUNDS, "an answer is read as it was meant");
	for (round = 0; round < 5 * ROUNDS && bounds_hold(); round++)
		;
	is_int(round, 5 * ROUNDS, "a damaged one is read within its bounds");
	for (round = 0; round < ROUNDS && other_request_never_passes(); round++)
		;
	is_int(round, ROUNDS, "one for another request never passes");
	return done_testing();
}
