/*
 * The order of SRV records: always by priority, nothing lost, and among those of one priority each
 * comes first as often as its weight says. And no damage to an answer is read beyond its end.
 */
#include "natpunch/proto/dns_srv.h"

#include "guard.h"
#include "natpunch/base/wire.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 3000

static struct random rng;
static struct guard guard;

static struct dns_srv_answer pick_answer(void)
{
	struct dns_srv_answer answer = {.count = random_below(&rng, DNS_SRV_MAX + 1)};

	for (size_t i = 0; i < answer.count; i++)
		answer.records[i] = (struct dns_srv_record){
			.priority = (uint16_t)random_below(&rng, 4),
			.weight = (uint16_t)random_number(&rng),
			.port = (uint16_t)(i + 1),
			.target = "a",
		};
	return answer;
}

static bool order_holds(void)
{
	struct dns_srv_answer made = pick_answer(), answer = made;
	uint32_t random[DNS_SRV_MAX], seen = 0;

	random_fill(&rng, random, sizeof(random));
	dns_srv_order(&answer, random);
	for (size_t i = 0; i < answer.count; i++) {
		const struct dns_srv_record *record = &answer.records[i];
		const struct dns_srv_record *before = &made.records[record->port - 1];

		if (i > 0 && answer.records[i - 1].priority > record->priority)
			return false;
		if (record->weight != before->weight || record->priority != before->priority)
			return false;
		seen |= 1U << record->port;
	}
	return answer.count == made.count && seen == (2U << made.count) - 2;
}

/* How often, in percent, the record with this weight is first beside one of weight 10. */
static unsigned share(uint16_t weight)
{
	unsigned first = 0;

	for (int i = 0; i < 20000; i++) {
		struct dns_srv_answer answer = {.count = 2,
			.records = {{.weight = weight, .port = 1}, {.weight = 10, .port = 2}}};
		uint32_t random[DNS_SRV_MAX];

		random_fill(&rng, random, sizeof(random));
		dns_srv_order(&answer, random);
		first += answer.records[0].port == 1;
	}
	return first / 200;
}

/* A name of a few labels, written plainly, or ended by a jump to one that was written before. */
static void write_name(struct wire_writer *writer, size_t earlier)
{
	for (size_t labels = 1 + random_below(&rng, 3); labels > 0; labels--) {
		uint8_t size = (uint8_t)(1 + random_below(&rng, 63));

		wire_write_u8(writer, size);
		for (; size > 0; size--)
			wire_write_u8(writer, (uint8_t)('a' + random_below(&rng, 26)));
	}
	if (earlier > 0)
		wire_write_u16(writer, (uint16_t)(0xc000 | earlier));
	else
		wire_write_u8(writer, 0);
}

static size_t write_answer(uint8_t *bytes, size_t capacity, size_t records)
{
	struct wire_writer writer;

	wire_writer_start(&writer, bytes, capacity);
	wire_write_u32(&writer, 0x12348180);
	wire_write_u32(&writer, 0x00010000 | (uint32_t)records);
	wire_write_u32(&writer, 0);
	write_name(&writer, 0);
	wire_write_u32(&writer, 0x00210001);
	for (; records > 0; records--) {
		size_t start;

		wire_write_u16(&writer, 0xc00c);
		wire_write_u32(&writer, 0x00210001);
		wire_write_u32(&writer, 300);
		wire_write_u16(&writer, 0);
		start = writer.offset;
		wire_write_u32(&writer, (uint32_t)random_next(&rng));
		wire_write_u16(&writer, (uint16_t)(1 + random_below(&rng, 65535)));
		write_name(&writer, random_once(&rng, 2) ? 0 : 12);
		wire_patch_u16(&writer, start - 2, (uint16_t)(writer.offset - start));
	}
	return writer.failed ? 0 : writer.offset;
}

/* Names may be too long together; else all records are there. */
static bool reading_holds(bool damage)
{
	static uint8_t bytes[DNS_SRV_ANSWER_MAX];
	size_t records = random_below(&rng, 6);
	size_t size = write_answer(bytes, sizeof(bytes), records);
	uint8_t *at = guard_copy_end(&guard, bytes, size);
	struct dns_srv_answer answer;
	int result;

	if (damage)
		for (size_t flips = 1 + random_below(&rng, 4); flips > 0; flips--)
			at[random_below(&rng, size)] ^= (uint8_t)(1 << random_below(&rng, 8));
	result = dns_srv_read(at, size, &answer);
	if (damage || result != 0)
		return answer.count <= DNS_SRV_MAX && (result == 0 || answer.count == 0);
	return answer.count == records;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(DNS_SRV_ANSWER_MAX);
	for (round = 0; round < ROUNDS && order_holds(); round++)
		;
	is_int(round, ROUNDS, "by priority, and nothing is lost");
	ok(share(10) - 47 < 7, "equal weights, equal shares");
	ok(share(30) - 71 < 7, "three times the weight, three times as often");
	ok(share(0) - 7 < 5, "weight 0 has a small chance");
	for (round = 0; round < ROUNDS && reading_holds(false); round++)
		;
	is_int(round, ROUNDS, "all records of a good answer");
	for (round = 0; round < 5 * ROUNDS && reading_holds(true); round++)
		;
	is_int(round, 5 * ROUNDS, "a damaged one is read within its bounds");
	return done_testing();
}
