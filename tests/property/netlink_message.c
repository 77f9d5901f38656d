/*
 * Netlink messages of random attributes: what is written is read; whatever is cut off or turned
 * over, nothing outside is touched and reading comes to an end. All on memory between guard pages.
 */
#include "natpunch/proto/nft_message.h"
#include "natpunch/proto/netlink_message.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS         3000
#define SIZE_MOST      2048
#define ATTRIBUTE_MOST 40

static struct random rng;
static struct guard guard;

/* What was put, in order, with the depth that it was put at. */
struct put {
	unsigned depth;
	uint16_t type;
	bool nest;
	size_t size;
	uint8_t value[24];
};

struct recipe {
	struct put puts[ATTRIBUTE_MOST];
	size_t count;
};

static void put_level(struct netlink_message_writer *writer, struct recipe *recipe, unsigned depth)
{
	size_t wanted = random_below(&rng, 5);

	for (size_t i = 0; i < wanted && recipe->count < ATTRIBUTE_MOST; i++) {
		struct put *put = &recipe->puts[recipe->count++];

		put->depth = depth;
		put->type = (uint16_t)random_below(&rng, 0x4000);
		put->nest = depth < 3 && random_once(&rng, 3);
		if (put->nest) {
			size_t place = netlink_message_begin_nest(writer, put->type);
			put_level(writer, recipe, depth + 1);
			netlink_message_end_nest(writer, place);
			continue;
		}
		put->size = random_below(&rng, sizeof(put->value) + 1);
		random_fill(&rng, put->value, put->size);
		netlink_message_put(writer, put->type, put->value, put->size);
	}
}

static bool read_level(
	struct wire_reader *reader, const struct recipe *recipe, size_t *at, unsigned depth)
{
	struct netlink_message_attribute attribute;

	while (netlink_message_next_attribute(reader, &attribute)) {
		const struct put *put = &recipe->puts[*at];

		if (*at == recipe->count || put->depth != depth || put->type != attribute.type)
			return false;
		++*at;
		if (put->nest) {
			if (!read_level(&attribute.value, recipe, at, depth + 1))
				return false;
		} else if (attribute.value.size != put->size ||
			   memcmp(attribute.value.data, put->value, put->size) != 0) {
			return false;
		}
	}
	return !reader->failed;
}

/* Several messages into `out`; their recipes and types. Returns their size. */
#define MESSAGES 3
static size_t write_messages(uint8_t *out, struct recipe recipes[MESSAGES])
{
	struct netlink_message_writer writer;

	netlink_message_writer_start(&writer, out, SIZE_MOST * 4);
	for (uint16_t i = 0; i < MESSAGES; i++) {
		recipes[i].count = 0;
		netlink_message_begin(&writer, i, 0, i + 100u);
		put_level(&writer, &recipes[i], 0);
		netlink_message_end(&writer);
	}
	return netlink_message_writer_size(&writer);
}

static bool round_trip(void)
{
	static uint8_t bytes[SIZE_MOST * 4];
	static struct recipe recipes[MESSAGES];
	struct netlink_message message;
	struct netlink_message_writer tight;
	struct wire_reader reader;
	size_t size = write_messages(bytes, recipes);
	size_t at;

	if (size == 0)
		return false;
	wire_reader_start(&reader, guard_copy_end(&guard, bytes, size), size);
	for (uint16_t i = 0; i < MESSAGES; i++) {
		at = 0;
		if (!netlink_message_next(&reader, &message) || message.type != i ||
			message.sequence != i + 100u ||
			!read_level(&message.body, &recipes[i], &at, 0) || at != recipes[i].count)
			return false;
	}
	/* With too little room nothing is written behind it, and it is said. */
	at = random_below(&rng, NETLINK_MESSAGE_HEADER_SIZE);
	netlink_message_writer_start(&tight, guard_at_end(&guard, at), at);
	netlink_message_begin(&tight, 1, 0, 1);
	put_level(&tight, &recipes[0], MESSAGES);
	netlink_message_end(&tight);
	return !netlink_message_next(&reader, &message) && !reader.failed &&
	       netlink_message_writer_size(&tight) == 0;
}

/* Reads everything that can be read, as deep as attributes go. Returns how much there was. */
static size_t walk_attributes(struct wire_reader reader, unsigned depth)
{
	struct netlink_message_attribute attribute;
	size_t seen = 0;
	uint32_t number;

	while (netlink_message_next_attribute(&reader, &attribute)) {
		seen++;
		netlink_message_get_be32(&attribute, &number);
		if (depth < 8)
			seen += walk_attributes(attribute.value, depth + 1);
	}
	return seen;
}

static size_t walk(const uint8_t *data, size_t size)
{
	struct netlink_message message;
	struct nft_message_entry entry;
	struct wire_reader reader;
	size_t seen = 0;
	int code;

	wire_reader_start(&reader, data, size);
	while (netlink_message_next(&reader, &message)) {
		seen += 1 + walk_attributes(message.body, 0);
		netlink_message_read_error(&message, &code);
		if (nft_message_read_entry(&message, &entry) &&
			entry.original.source.family == ADDR_NONE)
			return SIZE_MAX;
	}
	return seen;
}

/* At any cut: no more messages than there were, none of them longer than what is left. */
static bool truncation_holds(void)
{
	static uint8_t bytes[SIZE_MOST * 4];
	static struct recipe recipes[MESSAGES];
	size_t size = write_messages(bytes, recipes);
	size_t whole = walk(guard_copy_end(&guard, bytes, size), size);
	size_t cut = random_below(&rng, size);

	return walk(guard_copy_end(&guard, bytes, cut), cut) <= whole;
}

static bool damage_holds(void)
{
	static uint8_t bytes[SIZE_MOST * 4];
	static struct recipe recipes[MESSAGES];
	size_t size = write_messages(bytes, recipes);
	size_t flips = 1 + random_below(&rng, 8);

	while (flips-- > 0)
		bytes[random_below(&rng, size)] ^= (uint8_t)(1u << random_below(&rng, 8));
	return walk(guard_copy_end(&guard, bytes, size), size) != SIZE_MAX;
}

static struct nft_message_flow random_flow(void)
{
	struct nft_message_flow flow = {
		.protocol = random_once(&rng, 2) ? MAPPING_TCP : MAPPING_UDP};
	uint8_t family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6;

	flow.source.family = flow.destination.family = family;
	random_fill(&rng, flow.source.ip, addr_ip_size(&flow.source));
	random_fill(&rng, flow.destination.ip, addr_ip_size(&flow.source));
	flow.source.port = (uint16_t)random_next(&rng);
	flow.destination.port = (uint16_t)random_next(&rng);
	return flow;
}

/*
 * What is asked to be deleted is, read as an answer, that very entry: but for its type and the
 * reply direction, which are put in here, the two are laid out alike.
 */
static bool entry_holds(void)
{
	struct nft_message_entry entry = {.original = random_flow(), .id = (uint32_t)rng.state};
	uint8_t bytes[NFT_MESSAGE_REQUEST_SIZE * 2];
	struct netlink_message message;
	struct nft_message_entry read;
	struct wire_reader reader;
	size_t size = nft_message_write_delete(bytes, sizeof(bytes), &entry);
	size_t tuple = size - NETLINK_MESSAGE_HEADER_SIZE - 4 - 8;
	uint16_t type = 0x100, reply = 0x8002;
	uint32_t whole = (uint32_t)(size + tuple);

	memcpy(bytes + size, bytes + NETLINK_MESSAGE_HEADER_SIZE + 4, tuple);
	memcpy(bytes + size + 2, &reply, sizeof(reply));
	memcpy(bytes, &whole, sizeof(whole));
	memcpy(bytes + 4, &type, sizeof(type));
	wire_reader_start(&reader, guard_copy_end(&guard, bytes, whole), whole);
	if (!netlink_message_next(&reader, &message) || !nft_message_read_entry(&message, &read))
		return false;
	if (!nft_message_flow_equal(&read.original, &entry.original) ||
		!nft_message_flow_equal(&read.reply, &entry.original) || read.id != entry.id)
		return false;
	/* Any byte less, and it is none. */
	whole--;
	memcpy(bytes, &whole, sizeof(whole));
	wire_reader_start(&reader, guard_copy_end(&guard, bytes, whole), whole);
	return netlink_message_next(&reader, &message) && !nft_message_read_entry(&message, &read);
}

static void holds(bool (*property)(void), const char *name)
{
	int round = 0;

	while (round < ROUNDS && property())
		round++;
	is_int(round, ROUNDS, "%s", name);
}

int main(void)
{
	rng = random_start();
	guard = guard_make(SIZE_MOST * 4);
	holds(round_trip, "what is written is read");
	holds(truncation_holds, "a cut is noticed");
	holds(damage_holds, "damage stays inside");
	holds(entry_holds, "an entry is what it was");
	return done_testing();
}
