/* The raw handshake: its bytes against another program's, and what is refused on either side. */
#include "natpunch/proto/raw_handshake.h"

#include "tap.h"

static const uint8_t random_bytes[RAW_HANDSHAKE_RANDOM_SIZE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x11, 0x22, 0x33, 0x44, 0xff, 0xff, 0xff, 0xff};

static const uint8_t key[SIPHASH_KEY_SIZE] = {"a key of cookies"};

static struct addr address(const char *text, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, text) != 0)
		bail_out("not an address: %s", text);
	addr.port = port;
	return addr;
}

/* A home, its reflector, and what a NAT makes of the home. */
struct path {
	const char *name;
	struct addr home;
	struct addr seen;
	struct addr reflector;
};

static struct path path4(void)
{
	return (struct path){"IPv4", address("192.168.1.2", 22), address("203.0.113.2", 40022),
		address("198.51.100.10", 3478)};
}

static struct path path6(void)
{
	return (struct path){"IPv6", address("2001:db8:1::2", 22), address("2001:db8:1::2", 22),
		address("2001:db8:10::10", 3478)};
}

/* Has the home ask and the reflector answer, the NAT in between. */
static struct raw_handshake ask(const struct path *path, struct segment *syn)
{
	struct raw_handshake handshake;

	raw_handshake_start(&handshake, &path->home, &path->reflector, random_bytes);
	raw_handshake_make_syn(&handshake, syn);
	syn->source = path->seen;
	return handshake;
}

static struct raw_handshake ask_and_answer(const struct path *path, struct segment *answer)
{
	struct segment syn;
	struct raw_handshake handshake = ask(path, &syn);

	if (!raw_handshake_answer(&syn, key, answer))
		bail_out("no answer");
	answer->destination = path->home;
	return handshake;
}

static void test_bytes(const struct path *path, const char *md5, uint32_t timestamp)
{
	struct segment syn, answer, ack;
	struct raw_handshake handshake = ask(path, &syn);
	uint8_t bytes[SEGMENT_TCP_MAX];
	size_t size = segment_write_tcp(&syn, bytes, sizeof(bytes));

	is_uint(size, 52, "%s: size of the SYN", path->name);
	is_mem(syn.md5, "\1\2\3\4\5\6\7\10\11\12\13\14\xfc\x3e\xb2\x25", 16, "%s: the nonce",
		path->name);
	is_uint(syn.sequence, 0x11223344, "%s: its number", path->name);
	if (!ok(raw_handshake_answer(&syn, key, &answer), "%s: is answered", path->name))
		return;
	is_uint(segment_write_tcp(&answer, bytes, sizeof(bytes)), size, "%s: by as many bytes",
		path->name);
	is_mem(answer.md5, md5, 16, "%s: with the address", path->name);
	is_uint(answer.timestamp, timestamp, "%s: and the mask", path->name);
	is_uint(answer.timestamp_echo, UINT32_MAX, "%s: the timestamp comes back", path->name);
	is_uint(answer.acknowledgment, 0x11223345, "%s: the SYN is acknowledged", path->name);
	ok(answer.sequence != 0x090a0b0c, "%s: by a number that is not the nonce's", path->name);
	raw_handshake_make_ack(&handshake, &answer, &ack);
	is_uint(ack.sequence, 0x11223345, "%s: number of the ACK", path->name);
	is_uint(ack.acknowledgment, answer.sequence + 1, "%s: what it acknowledges", path->name);
	is_uint(ack.flags, SEGMENT_ACK, "%s: its flags", path->name);
	ok(ack.has_md5 && !ack.has_mss, "%s: its options", path->name);
	is_uint(ack.timestamp_echo, answer.timestamp, "%s: its echo", path->name);
	raw_handshake_make_reset(&handshake, &ack);
	ok(ack.flags == SEGMENT_RST && ack.sequence == 0x11223345 && ack.has_md5,
		"%s: giving up is a RST", path->name);
}

static void test_mapped(const struct path *path)
{
	struct segment answer;
	struct raw_handshake handshake = ask_and_answer(path, &answer);
	struct addr mapped;

	is_int(raw_handshake_judge(&handshake, &answer, &mapped), RAW_HANDSHAKE_MAPPED,
		"%s: mapped", path->name);
	ok(addr_equal(&mapped, &path->seen), "%s: as seen", path->name);
}

static void expect(const struct path *path, enum raw_handshake_outcome outcome, const char *name,
	void (*change)(struct segment *answer))
{
	struct segment answer;
	struct raw_handshake handshake = ask_and_answer(path, &answer);
	struct addr mapped;

	change(&answer);
	is_int(raw_handshake_judge(&handshake, &answer, &mapped), outcome, "%s: %s", path->name,
		name);
	is_uint(mapped.family, outcome == RAW_HANDSHAKE_MAPPED ? path->seen.family : ADDR_NONE,
		"%s: %s: an address only if it is mapped", path->name, name);
}

static void other_source(struct segment *answer)
{
	answer->source.ip[3]++;
}
static void other_source_port(struct segment *answer)
{
	answer->source.port++;
}
static void other_destination_port(struct segment *answer)
{
	answer->destination.port++;
}
static void other_acknowledgment(struct segment *answer)
{
	answer->acknowledgment++;
}
static void without_ack(struct segment *answer)
{
	answer->flags = SEGMENT_SYN;
}
static void without_syn(struct segment *answer)
{
	answer->flags = SEGMENT_ACK;
}
static void with_fin(struct segment *answer)
{
	answer->flags |= SEGMENT_FIN;
}
static void without_option(struct segment *answer)
{
	answer->has_md5 = false;
}
static void reset(struct segment *answer)
{
	answer->flags = SEGMENT_RST | SEGMENT_ACK;
	answer->has_md5 = false;
}
static void blind_reset(struct segment *answer)
{
	reset(answer);
	answer->acknowledgment += 100;
}
static void bare_reset(struct segment *answer)
{
	answer->flags = SEGMENT_RST;
}
static void other_proof(struct segment *answer)
{
	answer->md5[3] ^= 1;
}
static void other_seal(struct segment *answer)
{
	answer->timestamp ^= 0x10001;
}
static void other_echo(struct segment *answer)
{
	answer->timestamp_echo++;
}
static void without_timestamps(struct segment *answer)
{
	answer->has_timestamps = false;
}

static void test_judgement(const struct path *path)
{
	bool v6 = path->home.family == ADDR_IPV6;

	expect(path, RAW_HANDSHAKE_UNRELATED, "from elsewhere", other_source);
	expect(path, RAW_HANDSHAKE_UNRELATED, "from another port", other_source_port);
	expect(path, RAW_HANDSHAKE_UNRELATED, "to another port", other_destination_port);
	expect(path, RAW_HANDSHAKE_UNRELATED, "acknowledges something else", other_acknowledgment);
	expect(path, RAW_HANDSHAKE_UNRELATED, "acknowledges nothing", without_ack);
	expect(path, RAW_HANDSHAKE_UNRELATED, "is no SYN", without_syn);
	expect(path, RAW_HANDSHAKE_UNRELATED, "is a FIN as well", with_fin);
	expect(path, RAW_HANDSHAKE_STRIPPED, "without the option", without_option);
	expect(path, RAW_HANDSHAKE_RESET, "a RST", reset);
	expect(path, RAW_HANDSHAKE_UNRELATED, "a RST by a guess", blind_reset);
	expect(path, RAW_HANDSHAKE_UNRELATED, "a RST that acknowledges nothing", bare_reset);
	expect(path, RAW_HANDSHAKE_MALFORMED, "without the nonce", other_proof);
	expect(path, v6 ? RAW_HANDSHAKE_MALFORMED : RAW_HANDSHAKE_MAPPED, "another mask",
		other_seal);
	expect(path, v6 ? RAW_HANDSHAKE_MALFORMED : RAW_HANDSHAKE_MAPPED, "another echo",
		other_echo);
	expect(path, v6 ? RAW_HANDSHAKE_MALFORMED : RAW_HANDSHAKE_MAPPED, "no timestamps",
		without_timestamps);
}

static void test_unlikely_addresses(void)
{
	static const char *const rows[] = {"0.0.0.0", "224.0.0.1", "255.255.255.255"};
	struct path path = path4();
	struct segment answer;
	struct addr mapped;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct raw_handshake handshake = ask_and_answer(&path, &answer);
		struct addr other = address(rows[i], 0);

		for (size_t at = 0; at < 4; at++)
			answer.md5[12 + at] ^= path.seen.ip[at] ^ other.ip[at];
		is_int(raw_handshake_judge(&handshake, &answer, &mapped), RAW_HANDSHAKE_MALFORMED,
			"%s", rows[i]);
	}
	struct raw_handshake handshake = ask_and_answer(&path, &answer);
	answer.md5[8] ^= 40022 >> 8;
	answer.md5[9] ^= 40022 & 0xff;
	is_int(raw_handshake_judge(&handshake, &answer, &mapped), RAW_HANDSHAKE_MALFORMED,
		"port 0");
}

/* NAT64 (RFC 6146): asked over IPv6, seen over IPv4; and not the other way round. */
static void test_translation(void)
{
	struct path path = path6();
	struct path other = path4();
	struct segment syn, answer;
	struct raw_handshake handshake = ask(&path, &syn);
	struct addr mapped;

	syn.source = other.seen;
	syn.destination = other.reflector;
	ok(raw_handshake_answer(&syn, key, &answer), "NAT64: is answered");
	answer.source = path.reflector;
	answer.destination = path.home;
	is_int(raw_handshake_judge(&handshake, &answer, &mapped), RAW_HANDSHAKE_MAPPED,
		"NAT64: mapped");
	ok(addr_equal(&mapped, &other.seen), "NAT64: the IPv4 address");

	handshake = ask(&other, &syn);
	syn.source = path.seen;
	ok(raw_handshake_answer(&syn, key, &answer), "IPv6 seen over IPv4: is answered");
	answer.source = other.reflector;
	answer.destination = other.home;
	is_int(raw_handshake_judge(&handshake, &answer, &mapped), RAW_HANDSHAKE_MALFORMED,
		"IPv6 seen over IPv4: is not believed");
}

static void without_mark(struct segment *syn)
{
	syn->md5[15] ^= 1;
}
static void with_data(struct segment *syn)
{
	syn->data = (const uint8_t *)"x";
	syn->data_size = 1;
}
static void also_ack(struct segment *syn)
{
	syn->flags |= SEGMENT_ACK;
}
static void also_syn(struct segment *segment)
{
	segment->flags |= SEGMENT_SYN;
}
static void also_reset(struct segment *syn)
{
	syn->flags |= SEGMENT_RST;
}
static void from_port_0(struct segment *syn)
{
	syn->source.port = 0;
}
static void from_multicast(struct segment *syn)
{
	memset(syn->source.ip, 0xff, 4);
}
static void from_nowhere(struct segment *syn)
{
	memset(syn->source.ip, 0, 16);
}
static void from_itself(struct segment *syn)
{
	syn->source = syn->destination;
}

static void test_requests(const struct path *path)
{
	static const struct {
		const char *name;
		void (*change)(struct segment *syn);
	} rows[] = {
		{"without the option", without_option},
		{"without the mark", without_mark},
		{"with data", with_data},
		{"a SYN-ACK", also_ack},
		{"with RST", also_reset},
		{"with FIN", with_fin},
		{"no SYN", bare_reset},
		{"from port 0", from_port_0},
		{"from a multicast address", from_multicast},
		{"from no address", from_nowhere},
		{"from the reflector itself", from_itself},
	};
	struct segment syn, answer;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(path, &syn);
		rows[i].change(&syn);
		ok(!raw_handshake_answer(&syn, key, &answer), "%s, %s: gets no answer", path->name,
			rows[i].name);
	}
	ask(path, &syn);
	without_timestamps(&syn);
	is_int(raw_handshake_answer(&syn, key, &answer), path->home.family == ADDR_IPV4,
		"%s, without timestamps: an answer only if the port goes without", path->name);
	ask(path, &syn);
	syn.has_mss = false;
	ok(raw_handshake_answer(&syn, key, &answer) && !answer.has_mss,
		"%s: no option that was not asked with", path->name);
}

static void as_is(struct segment *ack)
{
	(void)ack;
}
static void other_address(struct segment *ack)
{
	ack->source.ip[15 - 12 * (ack->source.family == ADDR_IPV4)] ^= 1;
}
static void other_port(struct segment *ack)
{
	ack->source.port ^= 1;
}
static void other_sequence(struct segment *ack)
{
	ack->sequence++;
}
static void other_nonce(struct segment *ack)
{
	ack->md5[0] ^= 1;
}
/* What a blind one could say as long as the number came out of the nonce. */
static void of_nonce(struct segment *ack)
{
	ack->acknowledgment = 0x090a0b0d;
}

/* Only who got the SYN-ACK can send the ACK. */
static void test_cookie(const struct path *path)
{
	static const struct {
		const char *name;
		void (*change)(struct segment *ack);
		bool completes;
	} rows[] = {
		{"the ACK", as_is, true},
		{"from another address", other_address, false},
		{"from another port", other_port, false},
		{"with another number", other_sequence, false},
		{"with another nonce", other_nonce, false},
		{"with the nonce's number", of_nonce, false},
		{"without the option", without_option, false},
		{"with FIN", with_fin, false},
		{"a SYN-ACK", also_syn, false},
	};
	static const uint8_t other_key[SIPHASH_KEY_SIZE] = {"another of those"};
	struct segment syn, answer, again, ack;
	struct raw_handshake handshake = ask(path, &syn);

	ok(raw_handshake_answer(&syn, key, &answer) && raw_handshake_answer(&syn, key, &again) &&
			answer.sequence == again.sequence,
		"%s: a SYN that is repeated gets the same number", path->name);
	ok(raw_handshake_answer(&syn, other_key, &again) && answer.sequence != again.sequence,
		"%s: and another one from another reflector", path->name);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		raw_handshake_make_ack(&handshake, &answer, &ack);
		ack.source = path->seen;
		rows[i].change(&ack);
		is_int(raw_handshake_completes(&ack, key), rows[i].completes, "%s, %s: %s",
			path->name, rows[i].name, rows[i].completes ? "completes" : "does not");
	}
}

int main(void)
{
	struct path paths[] = {path4(), path6()};

	test_bytes(&paths[0], "\x01\x02\x03\x04\x05\x06\x07\x08\x95\x5c\xf4\xf3\x37\x3e\xc3\x27",
		0x9d54b5db);
	test_bytes(&paths[1], "\x21\x03\x0e\xbc\x05\x07\x07\x08\x09\x0a\x0b\x0c\xfc\x3e\xb2\x27",
		0x011471dc);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		test_mapped(&paths[i]);
		test_judgement(&paths[i]);
		test_requests(&paths[i]);
		test_cookie(&paths[i]);
	}
	test_unlikely_addresses();
	test_translation();
	return done_testing();
}
