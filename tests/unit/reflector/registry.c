/*
 * The table of names: found, changed, kept over new keys, aged; and its file, which is whole
 * whatever is killed when.
 */
#include "reflector/registry.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "reflector/registry_file.h"
#include "reflector/registry_format.h"
#include "tap.h"

#define DAY_MS 86400000ULL

static char directory[] = "/tmp/natpunch-registry-XXXXXX";
static char path[64], new_path[80], damaged_path[80], old_path[80];

/* Keys for the names, each of whose secret is the byte. */
static struct key_file make_keys(uint8_t byte, size_t count, const char *const *names)
{
	struct key_file keys = {.rows = calloc(count + 1, sizeof(*keys.rows)), .count = count};

	for (size_t i = 0; i < count; i++) {
		memcpy(keys.rows[i].name, names[i], strlen(names[i]) + 1);
		memset(keys.rows[i].secret, byte, KEY_SECRET_SIZE);
	}
	return keys;
}

static void set_keys(
	struct registry *registry, uint8_t byte, size_t count, const char *const *names)
{
	struct key_file keys = make_keys(byte, count, names);

	registry_set_keys(registry, &keys);
	key_file_free(&keys);
}

static struct registry_place make_place(const char *ip, uint16_t port, int64_t heard)
{
	struct registry_place place = {
		.heard = heard, .slot = REGISTRY_NONE, .local_port = 22, .protocol = MAPPING_TCP};

	if (addr_parse_ip(&place.addr, ip) != 0)
		bail_out("%s", ip);
	place.addr.port = port;
	return place;
}

static void test_names(void)
{
	static const char *const first[] = {"home", "work", "x"};
	static const char *const second[] = {"new", "other", "work"};
	struct registry_place place = make_place("203.0.113.2", 40022, 0);
	struct registry registry;
	uint32_t work, changes;

	ok(registry_open(&registry) == 0, "opened");
	is_uint(registry_find(&registry, "home"), REGISTRY_NONE, "no names yet");
	set_keys(&registry, 1, 3, first);
	is_uint(registry.count, 3, "three names");
	work = registry_find(&registry, "work");
	for (size_t i = 0; i < REGISTRY_PLACES; i++)
		ok(!registry_is_held(&registry.entries[work].places[i], 5),
			"place %zu of a new name is held by no connection", i);
	registry_put(&registry, work, &place);
	registry_put(&registry, registry_find(&registry, "home"), &place);
	changes = registry.entries[work].changes;

	set_keys(&registry, 1, 3, second);
	is_uint(registry.count, 3, "three others");
	is_uint(registry_find(&registry, "home"), REGISTRY_NONE, "one that is gone is gone");
	is_uint(registry_find(&registry, "work"), work, "one that stays keeps its number");
	is_uint(registry.entries[work].places[0].addr.port, 40022, "and its place");
	is_uint(registry.entries[work].changes, changes, "unchanged");
	registry.changed = false;
	set_keys(&registry, 2, 3, second);
	is_uint(registry_find(&registry, "work"), work, "one with a new key keeps its number,");
	is_uint(registry.entries[work].key.secret[5], 2, "has the new key,");
	ok(registry.entries[work].places[0].addr.family == ADDR_NONE &&
			registry.entries[work].places[0].slot == REGISTRY_NONE,
		"and not the place that was said with the old one");
	ok(registry.changed, "which is to be written");
	ok(registry.entries[work].changes > changes, "and makes every nonce stale");
	ok(registry_find(&registry, "new") < 3 && registry_find(&registry, "other") < 3,
		"new ones take the room of old ones");
	ok(registry.entries[registry_find(&registry, "new")].places[0].addr.family == ADDR_NONE,
		"and nothing that was theirs");
	set_keys(&registry, 1, 3, first);
	ok(registry.entries[registry_find(&registry, "home")].changes > changes,
		"a name that comes back does not count from the beginning");
	ok(registry.entries[registry_find(&registry, "home")].places[0].addr.family == ADDR_NONE,
		"nor is it still where it was");
	set_keys(&registry, 1, 0, NULL);
	is_uint(registry.count, 0, "no names any more");
	registry_close(&registry);
}

/* Byte 0: no old key. */
static void set_two(struct registry *registry, uint8_t new, uint8_t old)
{
	static const char *const twice[] = {"home", "home"};
	struct key_file keys = make_keys(new, old != 0 ? 2 : 1, twice);

	memset(keys.rows[keys.count - 1].secret, old != 0 ? old : new, KEY_SECRET_SIZE);
	registry_set_keys(registry, &keys);
	key_file_free(&keys);
}

static unsigned ended_count;
static uint32_t ended_slot;

static void note_ended(void *context, uint32_t slot, uint32_t generation)
{
	if (context == &ended_count && generation == 9)
		ended_count++;
	ended_slot = slot;
}

/* Port 0: nowhere. */
static void is_at(const struct registry *registry, uint16_t four, uint16_t six, const char *when)
{
	const struct registry_place *places = registry->entries[0].places;

	is_uint(places[0].addr.family == ADDR_NONE ? 0 : places[0].addr.port, four,
		"%s: what the old key said", when);
	is_uint(places[1].addr.family == ADDR_NONE ? 0 : places[1].addr.port, six,
		"%s: what the new key said", when);
}

/* A key is changed: both are good for a while, and what either said holds as long as it is. */
static void test_two_keys(void)
{
	struct registry_place four = make_place("203.0.113.2", 40022, 1000);
	struct registry_place six = make_place("2001:db8::2", 22, 5000);
	struct registry registry;
	uint32_t changes;

	registry_open(&registry);
	registry.ended = note_ended;
	registry.context = &ended_count;
	four.slot = 3;
	six.slot = 4;
	four.generation = six.generation = 9;
	set_two(&registry, 1, 0);
	is_uint(registry_count_old(&registry), 0, "no old key");
	registry_put(&registry, 0, &four);
	changes = registry.entries[0].changes;
	set_two(&registry, 2, 1);
	is_uint(registry_count_old(&registry), 1, "an old key");
	is_uint(registry.count, 1, "of one name");
	is_uint(registry_secret(&registry.entries[0], false)[0], 2, "beside the new one");
	is_uint(registry_secret(&registry.entries[0], true)[0], 1, "which is the one before");
	ok(registry.entries[0].places[0].by_old, "what was said before was said with that");
	ok(registry.entries[0].changes > changes, "nonces are stale");
	changes = registry.entries[0].changes;
	registry_put(&registry, 0, &six);
	is_at(&registry, 40022, 22, "both keys");
	changes = registry.entries[0].changes;
	set_two(&registry, 2, 1);
	is_uint(registry.entries[0].changes, changes, "the same keys change nothing");
	set_two(&registry, 1, 2);
	is_at(&registry, 40022, 22, "in the other order");
	ok(!registry.entries[0].places[0].by_old && registry.entries[0].places[1].by_old,
		"in the other order: each is said by the other one");
	set_two(&registry, 2, 1);
	is_uint(ended_count, 0, "no connection is ended so far");
	set_two(&registry, 2, 0);
	is_at(&registry, 0, 22, "the old key is gone");
	ok(ended_count == 1 && ended_slot == 3, "the old key is gone: its connection is ended");
	is_uint(registry.entries[0].places[0].slot, REGISTRY_NONE, "and holds nothing");
	set_two(&registry, 5, 0);
	is_at(&registry, 0, 0, "another key");
	ok(ended_count == 2 && ended_slot == 4, "another key: the connection is ended");
	registry_put(&registry, 0, &six);
	set_keys(&registry, 1, 0, NULL);
	is_uint(ended_count, 3, "no key any more: the connection is ended");
	registry_close(&registry);
}

static void test_places(void)
{
	static const char *const names[] = {"home"};
	struct registry_place four = make_place("203.0.113.2", 40022, 1000);
	struct registry_place six = make_place("2001:db8::2", 22, 5000);
	struct registry_place udp = make_place("203.0.113.2", 51820, 2000);
	const struct registry_place *places;
	struct registry registry;

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	registry_put(&registry, 0, &four);
	six.slot = 7;
	six.generation = 3;
	registry_put(&registry, 0, &six);
	places = registry.entries[0].places;
	ok(addr_equal(&places[0].addr, &four.addr) && addr_equal(&places[1].addr, &six.addr),
		"one place for each family");
	udp.protocol = MAPPING_UDP;
	registry_put(&registry, 0, &udp);
	ok(addr_equal(&places[0].addr, &four.addr), "a UDP port does not take the TCP one's place");
	ok(registry_place_of(&registry, 0, ADDR_IPV4, MAPPING_UDP) == &places[2] &&
			addr_equal(&places[2].addr, &udp.addr),
		"but has its own");
	ok(places[3].addr.family == ADDR_NONE, "as the fourth has");
	is_uint(registry_age(&places[0], 61000), 60, "age in seconds");
	is_uint(registry_age(&places[0], 500), 0, "none for a clock that was put back");
	is_uint(registry_age(&places[1], 61000), 0, "none for what is held");
	ok(registry_is_held(&places[1], 61000), "held by a connection");
	ok(!registry_is_held(&places[0], 2000), "not held without a promise");
	registry_release(&registry, 0, 7, 4, 70000);
	ok(registry_is_held(&places[1], 70000), "another connection's end is not its end");
	registry_release(&registry, 0, 7, 3, 70000);
	ok(!registry_is_held(&places[1], 70000), "its connection's end is");
	is_uint(registry_age(&places[1], 75000), 5, "it was heard until then");
	four.seconds = 60;
	registry_put(&registry, 0, &four);
	ok(registry_is_held(&places[0], 60999), "held as long as it was promised");
	ok(!registry_is_held(&places[0], 61000), "and no longer");
	ok(registry_is_known(&places[0], 1000 + 30 * DAY_MS), "known for 30 days");
	ok(!registry_is_known(&places[0], 1001 + 30 * DAY_MS), "and then forgotten");
	ok(!registry_is_known(&(struct registry_place){.slot = REGISTRY_NONE}, 0),
		"nowhere is not known");
	registry_close(&registry);
}

/* Which home registers the place: a byte. */
static struct registry_place make_home(const char *ip, uint8_t home, bool held)
{
	struct registry_place place = make_place(ip, 40022, 0);

	memset(place.home, home, sizeof(place.home));
	place.slot = held ? home : REGISTRY_NONE;
	return place;
}

/* Is the home that registers now told of another one? */
static bool meets_rival(struct registry *registry, const struct registry_place *place)
{
	struct registry_place there = *registry_place_of(registry, 0,
		(enum addr_family)place->addr.family, (enum mapping_protocol)place->protocol);

	registry_put(registry, 0, place);
	return registry_is_rival(&there, place, 1000);
}

static void test_rivals(void)
{
	static const char *const names[] = {"home"};
	struct registry_place first = make_home("203.0.113.2", 1, true);
	struct registry_place moved = make_home("203.0.113.9", 1, true);
	struct registry_place again = make_home("203.0.113.2", 2, true);
	struct registry_place other = make_home("192.0.2.7", 3, true);
	struct registry_place once = make_home("192.0.2.7", 4, false);
	struct registry_place old = make_home("198.51.100.1", 0, true);
	struct registry_place six = make_home("2001:db8::1", 1, true);
	struct registry_place privately = make_home("2001:db8::2:2", 2, true);
	struct registry_place six_other = make_home("2001:db8:0:1::1", 3, true);
	struct registry registry;

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	ok(!meets_rival(&registry, &first), "the first home has no rival");
	ok(!meets_rival(&registry, &first), "nor when it registers again");
	ok(!meets_rival(&registry, &moved), "nor after a change of its address,");
	ok(!meets_rival(&registry, &first), "nor back");
	ok(!meets_rival(&registry, &six), "nor in its other family");
	ok(!meets_rival(&registry, &again), "nor when it was started again before it was let go");
	ok(!meets_rival(&registry, &again), "and again");
	ok(meets_rival(&registry, &other), "one from elsewhere is told at once");
	ok(meets_rival(&registry, &again), "the first one when it comes again");
	ok(meets_rival(&registry, &other), "and both");
	ok(meets_rival(&registry, &again), "as long as they run");
	ok(!meets_rival(&registry, &first), "two behind one NAT: it may be the same, started anew");
	ok(!meets_rival(&registry, &first), "also when it registers twice,");
	ok(meets_rival(&registry, &again), "until the first one comes again");
	ok(meets_rival(&registry, &first), "and then the second");
	ok(meets_rival(&registry, &once), "one that holds nothing is told");
	ok(meets_rival(&registry, &first), "and the one that holds is told of it");
	ok(!meets_rival(&registry, &old),
		"one of the first release does not say who it is, and is told nothing");
	ok(meets_rival(&registry, &first), "but others are told of it");
	ok(!meets_rival(&registry, &privately), "another address of the same network is no sign");
	ok(meets_rival(&registry, &six_other), "one of another network is");
	registry_release(&registry, 0, 1, 0, 500);
	ok(!meets_rival(&registry, &other), "a home that went is no rival");
	registry_close(&registry);
}

static void make_many(struct registry *registry, size_t count)
{
	struct key_file keys = {.rows = calloc(count, sizeof(*keys.rows)), .count = count};

	for (size_t i = 0; i < count; i++)
		snprintf(keys.rows[i].name, KEY_NAME_SIZE, "name-%zu", i);
	registry_set_keys(registry, &keys);
	key_file_free(&keys);
}

static void test_many(void)
{
	struct registry registry;
	char name[KEY_NAME_SIZE];
	size_t missing = 0;

	registry_open(&registry);
	make_many(&registry, KEY_FILE_MAX);
	for (size_t i = 0; i < KEY_FILE_MAX; i++) {
		snprintf(name, sizeof(name), "name-%zu", i);
		uint32_t found = registry_find(&registry, name);
		missing += found == REGISTRY_NONE ||
			   strcmp(registry.entries[found].key.name, name) != 0;
		snprintf(name, sizeof(name), "nome-%zu", i);
		missing += registry_find(&registry, name) != REGISTRY_NONE;
	}
	is_uint(missing, 0, "a hundred thousand names are found, and no others");
	registry_close(&registry);
}

/* Lets the writer come to its end. */
static void wait_for_writer(struct registry_file *state, struct registry *registry)
{
	while (state->writer != 0) {
		siginfo_t info;

		waitid(P_PID, (id_t)state->writer, &info, WEXITED | WNOWAIT);
		registry_file_reap(state, registry, clock_now_ms());
	}
}

static void test_state(void)
{
	static const char *const names[] = {"home", "work"};
	uint64_t now = 10 * DAY_MS;
	struct registry_place place = make_place("203.0.113.2", 40022, (int64_t)now - 5000);
	struct registry_file state;
	struct registry registry;
	struct error error;
	struct stat status;

	registry_open(&registry);
	set_keys(&registry, 1, 2, names);
	is_int(registry_file_open(&state, path, &registry, now, &error), 0, "a new file");
	ok(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600, "for its owner alone");
	is_uint(registry_file_next(&state, &registry, now), now + REGISTRY_FILE_SAVE_REFRESH_MS,
		"nothing to write for an hour");
	registry_put(&registry, 0, &place);
	is_uint(registry_file_next(&state, &registry, now), now + REGISTRY_FILE_SAVE_DELAY_MS,
		"a change is written in a second");
	registry_put(&registry, 0, &place);
	is_uint(registry_file_next(&state, &registry, now + 900), now + REGISTRY_FILE_SAVE_DELAY_MS,
		"another does not put that off");
	registry_file_save(&state, &registry, now + 999);
	is_int(state.writer, 0, "not before");
	registry_file_save(&state, &registry, now + 1000);
	ok(state.writer > 0, "but then");
	is_uint(registry_file_next(&state, &registry, now), TIMER_NONE, "one at a time");
	wait_for_writer(&state, &registry);
	registry_put(&registry, 0, &place);
	is_uint(registry_file_next(&state, &registry, now + 1500), now + 2000,
		"the next one waits for its turn");
	is_uint(registry_file_next(&state, &registry, now + 1500), now + 2000, "and for no more");
	state.due = TIMER_NONE;
	is_uint(registry_file_next(&state, &registry, now + 5000), now + 5000,
		"after a quiet time it is written at once");
	place = make_place("2001:db8::7", 22, (int64_t)now);
	place.slot = 1;
	place.seconds = 60;
	registry_put(&registry, 1, &place);
	place.protocol = MAPPING_UDP;
	place.addr.port = 23;
	registry_put(&registry, 1, &place);
	registry_file_close(&state, &registry, now + 1000);
	registry_close(&registry);

	registry_open(&registry);
	set_keys(&registry, 1, 2, names);
	is_int(registry_file_open(&state, path, &registry, 500, &error), 0, "after a restart");
	is_uint(registry.entries[0].places[0].addr.port, 40022, "there is the first");
	is_uint(registry_age(&registry.entries[0].places[0], 500) / 2, 3, "with its age");
	is_uint(registry.entries[1].places[1].addr.port, 22, "there is the second");
	is_uint(registry.entries[1].places[3].addr.port, 23, "with its UDP port");
	ok(!registry_is_held(&registry.entries[1].places[1], 500), "which nothing holds now");
	ok(!registry.changed, "reading is no change");
	registry_file_close(&state, &registry, 500);
	registry_close(&registry);

	registry_open(&registry);
	set_keys(&registry, 1, 1, names + 1);
	is_int(registry_file_open(&state, path, &registry, 500, &error), 0, "with one key less");
	is_uint(registry.entries[0].places[1].addr.port, 22, "the other is there");
	ok(registry.entries[0].places[0].addr.family == ADDR_NONE, "and only that");
	registry_close(&registry);

	registry_open(&registry);
	set_two(&registry, 2, 1);
	place = make_place("203.0.113.9", 99, 0);
	is_int(registry_file_open(&state, old_path, &registry, 500, &error), 0, "with two keys");
	registry_put(&registry, 0, &place);
	place = make_place("2001:db8::9", 98, 0);
	place.by_old = true;
	registry_put(&registry, 0, &place);
	registry_file_close(&state, &registry, 500);
	registry_close(&registry);
	registry_open(&registry);
	set_two(&registry, 2, 1);
	is_int(registry_file_open(&state, old_path, &registry, 500, &error), 0, "and again");
	ok(registry.entries[0].places[0].addr.port == 99 && !registry.entries[0].places[0].by_old,
		"what the new key said is there");
	ok(registry.entries[0].places[1].addr.port == 98 && registry.entries[0].places[1].by_old,
		"and what the old one said");
	registry_close(&registry);
	registry_open(&registry);
	set_two(&registry, 2, 0);
	is_int(registry_file_open(&state, old_path, &registry, 500, &error), 0, "without the old");
	ok(registry.entries[0].places[0].addr.port == 99 &&
			registry.entries[0].places[1].addr.family == ADDR_NONE,
		"what that said is forgotten");
	registry_close(&registry);
	unlink(old_path);

	registry_open(&registry);
	set_keys(&registry, 2, 1, names + 1);
	is_int(registry_file_open(&state, path, &registry, 500, &error), 0, "with another key");
	ok(registry.entries[0].places[1].addr.family == ADDR_NONE, "nothing is believed");
	registry_close(&registry);
}

static void write_text(const char *text)
{
	FILE *file = fopen(path, "w");

	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		bail_out("cannot write %s", path);
}

/* As the first release wrote it, with one place for each family, whatever its protocol. */
static void test_old_file(void)
{
	static const char *const names[] = {"home"};
	struct registry_file state;
	struct registry registry;
	struct error error;
	char text[512];
	int size;

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	size = snprintf(text, sizeof(text),
		"natpunch-registry-2 2\nhome udp 203.0.113.2 51820 51820 0 5 %u\n"
		"home tcp 2001:db8::2 22 22 0 5 %u\n",
		(unsigned)key_number(&registry.entries[0].key),
		(unsigned)key_number(&registry.entries[0].key));
	registry_format_write_tail(text, (size_t)size, text + size);
	write_text(text);
	is_int(registry_file_open(&state, path, &registry, 0, &error), 0, "an old file");
	is_uint(registry_place_of(&registry, 0, ADDR_IPV4, MAPPING_UDP)->addr.port, 51820,
		"has a UDP port");
	is_uint(registry_place_of(&registry, 0, ADDR_IPV6, MAPPING_TCP)->addr.port, 22,
		"and a TCP one");
	ok(access(damaged_path, F_OK) != 0, "and is not damaged");
	registry_close(&registry);
	unlink(path);
}

static void test_damaged(void)
{
	static const char *const names[] = {"home"};
	struct registry_file state;
	struct registry registry;
	struct error error;
	char text[64];
	FILE *file;

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	write_text("natpunch-registry-2 1\nhome tcp 203.0.113.2 ");
	is_int(registry_file_open(&state, path, &registry, 0, &error), 0, "a damaged file");
	ok(registry.entries[0].places[0].addr.family == ADDR_NONE, "is not read");
	file = fopen(damaged_path, "r");
	ok(file != NULL && fgets(text, sizeof(text), file) != NULL &&
			strcmp(text, "natpunch-registry-2 1\n") == 0,
		"but kept");
	if (file != NULL)
		fclose(file);
	unlink(damaged_path);
	is_int(registry_file_open(&state, path, &registry, 0, &error), 0, "a good one is there");
	ok(access(damaged_path, F_OK) != 0, "and stays");
	unlink(path);
	ok(mkdir(path, 0700) == 0 && registry_file_open(&state, path, &registry, 0, &error) == -1,
		"what is no file is an error: %s", error.text);
	rmdir(path);
	is_int(registry_file_open(&state, "/proc/no/where", &registry, 0, &error), -1,
		"so is a place that cannot be written: %s", error.text);
	registry_close(&registry);
}

/* A writer that fails is tried again, later, and what it had to write is still to be written. */
static void test_failing_writer(void)
{
	static const char *const names[] = {"home"};
	struct registry_place place = make_place("203.0.113.2", 1, 0);
	struct registry_file state;
	struct registry registry;
	struct error error;
	uint64_t now = 5000;

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	is_int(registry_file_open(&state, path, &registry, now, &error), 0, "opened");
	ok(mkdir(new_path, 0700) == 0, "something is in the way");
	registry_put(&registry, 0, &place);
	registry_file_next(&state, &registry, now);
	now += REGISTRY_FILE_SAVE_DELAY_MS;
	registry_file_save(&state, &registry, now);
	wait_for_writer(&state, &registry);
	ok(registry.changed && state.due != TIMER_NONE, "it is tried again");
	rmdir(new_path);
	registry_file_save(&state, &registry, state.due);
	wait_for_writer(&state, &registry);
	ok(!registry.changed, "and then it is written");
	registry_close(&registry);

	registry_open(&registry);
	set_keys(&registry, 1, 1, names);
	registry_file_open(&state, path, &registry, now, &error);
	is_uint(registry.entries[0].places[0].addr.port, 1, "it is");
	registry_close(&registry);
}

#define CRASH_NAMES 2000

/* Saves for ever, each time all names with one port, which is told as a byte when it is begun. */
static _Noreturn void save_for_ever(int pipe_end, uint16_t first)
{
	struct registry_file state;
	struct registry registry;
	struct error error;

	registry_open(&registry);
	make_many(&registry, CRASH_NAMES);
	if (registry_file_open(&state, path, &registry, 1000, &error) != 0)
		_exit(1);
	for (uint16_t port = first;; port++) {
		for (uint32_t i = 0; i < CRASH_NAMES; i++) {
			struct registry_place place = make_place("203.0.113.2", port, 1000);
			registry_put(&registry, i, &place);
		}
		if (write(pipe_end, &port, sizeof(port)) < 0)
			_exit(1);
		state.due = 0;
		registry_file_save(&state, &registry, 1000);
		wait_for_writer(&state, &registry);
	}
}

/* The port that all names have, or 0 when they do not agree or one is missing. */
static uint16_t read_port(void)
{
	struct registry_file state;
	struct registry registry;
	struct error error;
	uint16_t port;

	registry_open(&registry);
	make_many(&registry, CRASH_NAMES);
	if (registry_file_open(&state, path, &registry, 1000, &error) != 0)
		return 0;
	port = registry.entries[0].places[0].addr.port;
	for (uint32_t i = 0; i < CRASH_NAMES; i++)
		if (registry.entries[i].places[0].addr.port != port)
			port = 0;
	registry_close(&registry);
	return port;
}

static void test_kill(int rounds)
{
	uint16_t stood = 1;
	int wrong = 0, advanced = 0;

	unlink(path);
	for (int round = 0; round < rounds; round++) {
		uint16_t told = 0, port;
		int ends[2];

		if (pipe(ends) != 0)
			bail_out("no pipe");
		pid_t child = fork();
		if (child == 0)
			save_for_ever(ends[1], (uint16_t)(stood + 1));
		close(ends[1]);
		/* Who begins the second has written the first, however slow the machine is. */
		for (int begun = 0; begun <= round % 3; begun++)
			if (read(ends[0], &told, sizeof(told)) != (ssize_t)sizeof(told))
				bail_out("the saver does not start");
		poll(NULL, 0, round % 23); /* any moment is as good as another */
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		while (read(ends[0], &port, sizeof(port)) == (ssize_t)sizeof(port))
			told = port;
		close(ends[0]);
		port = read_port();
		/* The very first file may not have been written. */
		if (port == 0 && stood == 1)
			continue;
		if (port < stood || port > told) {
			diag("round %d: %u stood, %u was begun, now %u", round, stood, told, port);
			wrong++;
		}
		advanced += port > stood;
		stood = port;
	}
	is_int(wrong, 0, "killed %d times: old or new, all names alike", rounds);
	ok(advanced > 0, "and new %d times", advanced);
	ok(access(damaged_path, F_OK) != 0, "never damaged");
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		bail_out("no directory in /tmp");
	snprintf(path, sizeof(path), "%s/state", directory);
	snprintf(old_path, sizeof(old_path), "%s.two", path);
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	snprintf(damaged_path, sizeof(damaged_path), "%s.damaged", path);
	log_set_level(LOG_LEVEL_QUIET);
	test_names();
	test_two_keys();
	test_places();
	test_rivals();
	test_many();
	test_state();
	test_old_file();
	test_damaged();
	test_failing_writer();
	test_kill(60);
	unlink(new_path);
	unlink(path);
	unlink(damaged_path);
	ok(rmdir(directory) == 0, "nothing else was left behind");
	return done_testing();
}
