/*
 * Questions about names under random damage: whatever is changed, cut or made up, nobody registers
 * and nobody is believed but with the very bytes that a key was used on. And key files and state
 * files: what is written comes back, what is damaged does not, nothing is read beyond the end.
 */
#include "natpunch/proto/name_messages.h"

#include <fcntl.h>
#include <unistd.h>

#include "guard.h"
#include "natpunch/base/key.h"
#include "natpunch/os/log.h"
#include "reflector/names.h"
#include "reflector/registry_format.h"
#include "random.h"
#include "tap.h"

#define ROUNDS     20000
#define START_MS   1000000ULL
#define BUFFER_MAX 2048

static struct random rng;
static struct guard guard;
static char path[] = "/tmp/natpunch-names-XXXXXX";
static struct names names;
static struct key key = {.name = "home"};
static const struct addr source = {.ip = {203, 0, 113, 2}, .port = 40022, .family = ADDR_IPV4};
static const struct binding_server server = {.stream = true};
static const struct names_caller caller = {.source = &source, .server = &server};

struct bytes {
	uint8_t data[BUFFER_MAX];
	size_t size;
};

/* A few changes: bytes, lengths that look like lengths, a cut, something in between. */
static struct bytes damage(const struct bytes *from)
{
	struct bytes out = *from;
	size_t changes = 1 + random_below(&rng, 4);

	for (size_t i = 0; i < changes && out.size > 0; i++) {
		size_t at = random_below(&rng, out.size);

		switch (random_below(&rng, 6)) {
		case 0:
			out.data[at] = (uint8_t)random_number(&rng);
			break;
		case 1:
			out.data[at] ^= (uint8_t)(1U << random_below(&rng, 8));
			break;
		case 2:
			out.size = at;
			break;
		case 3:
			memmove(out.data + at, out.data + at + 1, out.size - at - 1);
			out.size--;
			break;
		case 4:
			if (out.size == sizeof(out.data))
				break;
			memmove(out.data + at + 1, out.data + at, out.size - at);
			out.size++;
			break;
		default:
			random_fill(&rng, out.data + at,
				random_below(&rng, out.size - at < 8 ? out.size - at + 1 : 8));
		}
	}
	return out;
}

/*
 * Whether the damage has left all that the key was used on. FINGERPRINT comes after that (RFC 8489
 * section 14.7) and may be missing: the header's length then says so, and is not what the key was
 * used on (14.6).
 */
static bool is_same(const struct bytes *bad, const struct bytes *from)
{
	enum {
		LENGTH_AT = 2,
		LENGTH_END = 4,
		FINGERPRINT_SIZE = 8
	};
	if (bad->size == from->size)
		return memcmp(bad->data, from->data, from->size) == 0;
	return bad->size == from->size - FINGERPRINT_SIZE &&
	       memcmp(bad->data, from->data, LENGTH_AT) == 0 &&
	       memcmp(bad->data + LENGTH_END, from->data + LENGTH_END, bad->size - LENGTH_END) == 0;
}

static struct bytes answer(const struct bytes *request, struct names_effect *effect)
{
	struct bytes out = {.size = 0};

	names_answer(&names, &caller, guard_copy_end(&guard, request->data, request->size),
		request->size, START_MS, out.data, STUN_MESSAGE_MAX, &out.size, effect);
	return out;
}

static struct bytes write_next(struct name_question *client)
{
	struct bytes out;
	uint8_t random[12];

	random_fill(&rng, random, sizeof(random));
	out.size = name_message_write(client, random, out.data, sizeof(out.data));
	return out;
}

static struct addr random_host(void)
{
	struct addr host = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6};

	random_fill(&rng, host.ip, addr_ip_size(&host));
	host.ip[0] = host.family == ADDR_IPV4 ? 10 : 0xfd;
	host.port = (uint16_t)(1 + random_below(&rng, 65535));
	return host;
}

/* A client that has its nonce, and its request. */
static struct bytes begin(struct name_question *client)
{
	struct names_effect effect;
	struct bytes request, reply;
	const char *why;

	name_message_start(client, STUN_METHOD_REGISTER, &key);
	client->registration =
		(struct name_message_registration){.protocol = MAPPING_TCP, .local_port = 22};
	client->host_count = random_below(&rng, NAME_MESSAGE_HOST_MAX + 1);
	for (size_t i = 0; i < client->host_count; i++)
		client->hosts[i] = random_host();
	request = write_next(client);
	reply = answer(&request, &effect);
	if (name_message_read(client, reply.data, reply.size, &why) != NAME_MESSAGE_AGAIN)
		bail_out("no nonce: %s", why);
	return write_next(client);
}

static void test_messages(void)
{
	struct names_effect effect;
	struct name_question client, copy;
	int registered = 0, believed = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct bytes request = begin(&client), bad = damage(&request), reply;
		const char *why;

		answer(&bad, &effect);
		if (is_same(&bad, &request))
			continue;
		registered += effect.entry != REGISTRY_NONE;
		reply = answer(&request, &effect);
		if (effect.entry == REGISTRY_NONE)
			bail_out("the true request was refused");
		bad = damage(&reply);
		copy = client;
		if (is_same(&bad, &reply))
			continue;
		believed += name_message_read(&copy, guard_copy_end(&guard, bad.data, bad.size),
				    bad.size, &why) == NAME_MESSAGE_DONE;
	}
	is_int(registered, 0, "no damaged request registers");
	is_int(believed, 0, "no damaged answer is believed");
}

/* Home's own addresses get through the reflector as they are, or not at all. */
static void test_hosts(void)
{
	int lost = 0, made_up = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct name_question client, asker;
		struct bytes request = begin(&client), reply;
		struct names_effect effect;
		struct stun_message message;
		struct addr found[NAME_MESSAGE_HOST_MAX];
		const char *why;
		size_t count;

		answer(&request, &effect);
		name_message_start(&asker, STUN_METHOD_CONNECT, &key);
		do {
			request = write_next(&asker);
			reply = answer(&request, &effect);
		} while (name_message_read(&asker, reply.data, reply.size, &why) ==
			 NAME_MESSAGE_AGAIN);
		lost += asker.host_count != client.host_count;
		for (size_t i = 0; i < asker.host_count; i++)
			lost += !addr_equal(&asker.hosts[i], &client.hosts[i]);
		reply = damage(&reply);
		if (stun_parse(&message, guard_copy_end(&guard, reply.data, reply.size),
			    reply.size) != 0)
			continue;
		count = name_message_read_hosts(&message, key.secret, found);
		for (size_t i = 0; i < count; i++)
			made_up += found[i].port == 0 || found[i].family == ADDR_NONE;
	}
	is_int(lost, 0, "each address of home's own comes back");
	is_int(made_up, 0, "of a damaged answer nothing is read that is no address");
}

static void pick_name(char out[KEY_NAME_SIZE])
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t size = 1 + random_below(&rng, KEY_NAME_SIZE - 1);

	for (size_t i = 0; i < size; i++)
		out[i] = alphabet[random_below(&rng, i == 0 ? 36 : 39)];
	out[size] = '\0';
}

static int count_keys(const struct bytes *text)
{
	struct key_reader file = {
		.data = (const char *)guard_copy_end(&guard, text->data, text->size),
		.size = text->size,
	};
	enum key_reader_result result;
	const char *problem;
	struct key one;
	int count = 0;

	while ((result = key_reader_next(&file, &one, &problem)) == KEY_READER_KEY)
		count++;
	return result == KEY_READER_BAD ? -1 : count;
}

static void test_key_files(void)
{
	int lost = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct bytes text = {.size = 0}, bad;
		int count = (int)random_below(&rng, 5);
		char line[KEY_LINE_SIZE];
		struct key one;

		for (int i = 0; i < count; i++) {
			pick_name(one.name);
			random_fill(&rng, one.secret, sizeof(one.secret));
			text.size += (size_t)snprintf((char *)text.data + text.size,
				sizeof(text.data) - text.size, "%s\n", key_format(&one, line));
		}
		lost += count_keys(&text) != count;
		bad = damage(&text);
		count_keys(&bad);
	}
	is_int(lost, 0, "every key file that is written is read");
}

static int count_records(const struct bytes *text)
{
	struct registry_reader reader;
	struct registry_record record;
	const char *problem;
	int result, count = 0;

	if (registry_format_check(&reader, guard_copy_end(&guard, text->data, text->size),
		    text->size, &problem) != 0)
		return -1;
	while ((result = registry_format_next(&reader, &record)) > 0)
		count++;
	return result < 0 ? -1 : count;
}

static void test_state_files(void)
{
	int lost = 0, taken = 0;

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t count = (uint32_t)random_below(&rng, 5);
		struct bytes text, bad;
		char *at = (char *)text.data;

		at += registry_format_write_head(count, at);
		for (uint32_t i = 0; i < count; i++) {
			struct registry_record record = {
				.addr = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6},
				.protocol = random_once(&rng, 2) ? MAPPING_TCP : MAPPING_UDP,
				.local_port = (uint16_t)random_number(&rng),
				.seconds = (uint16_t)random_number(&rng),
				.heard = random_number(&rng) >> 20,
				.key = (uint32_t)random_number(&rng),
			};
			pick_name(record.name);
			random_fill(&rng, record.addr.ip, addr_ip_size(&record.addr));
			record.addr.port = (uint16_t)(1 + random_below(&rng, 65535));
			at += registry_format_write_record(&record, at);
		}
		at += registry_format_write_tail(text.data, (size_t)(at - (char *)text.data), at);
		text.size = (size_t)(at - (char *)text.data);
		lost += count_records(&text) != (int)count;
		bad = damage(&text);
		taken += !is_same(&bad, &text) && count_records(&bad) >= 0;
	}
	is_int(lost, 0, "every state file that is written is read");
	is_int(taken, 0, "no damaged one is");
}

int main(void)
{
	char line[KEY_LINE_SIZE];
	struct error error;
	int fd = mkstemp(path);

	rng = random_start();
	guard = guard_make(BUFFER_MAX);
	log_set_level(LOG_LEVEL_QUIET);
	random_fill(&rng, key.secret, sizeof(key.secret));
	if (fd < 0 || dprintf(fd, "%s\n", key_format(&key, line)) < 0 || close(fd) != 0 ||
		names_open(&names, path, NULL, START_MS, &error) != 0)
		bail_out("no names");
	test_messages();
	test_hosts();
	test_key_files();
	test_state_files();
	names_close(&names, START_MS);
	unlink(path);
	return done_testing();
}
