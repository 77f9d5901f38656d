/* The order in which a request about a name is judged, and what a refusal tells who has no key. */
#include "reflector/name_auth.h"

#include "natpunch/proto/stun_auth.h"
#include "tap.h"

#define NOW_MS   86400000ULL
#define STALE_MS (NOW_MS - 3 * NONCE_PERIOD_MS)

enum nonce_kind {
	NO_NONCE,
	MADE_UP,
	STALE,
	USED,
	FRESH
};
enum proof_kind {
	NO_PROOF,
	WRONG_KEY,
	TRUE_KEY
};

static struct key rows[] = {{.name = "home", .secret = {1}}};
static const struct key_file keys = {.rows = rows, .count = 1};
static const struct addr here = {.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 4000};
static struct name_sender sender = {.source = &here, .stream = true, .connection = 7};
static struct name_auth auth;
static struct registry registry;
static struct name_request request;
static struct name_grant grant;
static uint8_t salt[NONCE_SALT_SIZE];
static uint8_t bytes[STUN_MESSAGE_MAX];

static uint32_t changes_of(const char *name)
{
	uint32_t entry = registry_find(&registry, name);

	return entry != REGISTRY_NONE ? registry.entries[entry].changes : 0;
}

static void put_nonce(struct wire_writer *writer, const char *name, enum nonce_kind kind)
{
	struct nonce_subject subject = {
		.source = &here, .name = name, .changes = changes_of(name) - (kind == USED)};
	char nonce[NONCE_SIZE];

	nonce_make(auth.nonce_secret, &subject, salt, kind == STALE ? STALE_MS : NOW_MS, nonce);
	if (kind == MADE_UP)
		memset(nonce, 'A', sizeof(nonce));
	if (kind != NO_NONCE)
		stun_put(writer, STUN_NONCE, nonce, sizeof(nonce));
}

static void write_request(
	enum stun_method method, const char *name, enum nonce_kind nonce, enum proof_kind proof)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	struct key wrong = {.secret = {2}};
	struct wire_writer writer;
	size_t size;

	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, method, transaction);
	stun_put(&writer, STUN_USERNAME, name, strlen(name));
	put_nonce(&writer, name, nonce);
	if (proof != NO_PROOF)
		stun_auth_put(&writer, proof == TRUE_KEY ? rows[0].secret : wrong.secret,
			KEY_SECRET_SIZE);
	size = stun_finish(&writer);
	if (!name_auth_read(&request, bytes, size))
		bail_out("a request that is none");
}

/* The error, 0 when it is proven, 1 when there is no answer. */
static unsigned judge(
	enum stun_method method, const char *name, enum nonce_kind nonce, enum proof_kind proof)
{
	write_request(method, name, nonce, proof);
	return name_auth_check(&auth, &registry, &request, &sender, NOW_MS, &grant) ? grant.code
										    : 1;
}

/* Each fault alone is refused; of two, the one that is looked for first tells. */
static void test_order(void)
{
	static const struct {
		enum nonce_kind nonce;
		enum proof_kind proof;
		unsigned home, nobody;
		const char *what;
	} cases[] = {
		{NO_NONCE, NO_PROOF, 401, 401, "nothing at all"},
		{STALE, NO_PROOF, 401, 401, "a stale nonce, no proof"},
		{USED, NO_PROOF, 401, 401, "a used one, no proof"},
		{NO_NONCE, WRONG_KEY, 438, 438, "no nonce, a wrong key"},
		{NO_NONCE, TRUE_KEY, 438, 438, "no nonce, the true key"},
		{MADE_UP, TRUE_KEY, 438, 438, "a made-up nonce, the true key"},
		{STALE, WRONG_KEY, 438, 438, "a stale nonce before a wrong key"},
		{STALE, TRUE_KEY, 438, 438, "a stale nonce, the true key"},
		{USED, WRONG_KEY, 401, 401, "a wrong key before a used nonce"},
		{USED, TRUE_KEY, 438, 401, "a used nonce, the true key"},
		{FRESH, WRONG_KEY, 401, 401, "a fresh nonce, a wrong key"},
		{FRESH, TRUE_KEY, 0, 401, "all as it should be"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_uint(judge(STUN_METHOD_LOOKUP, "home", cases[i].nonce, cases[i].proof),
			cases[i].home, "%s", cases[i].what);
		is_uint(judge(STUN_METHOD_LOOKUP, "nobody", cases[i].nonce, cases[i].proof),
			cases[i].nobody, "%s, for a name that does not exist", cases[i].what);
	}
	is_uint(judge(STUN_METHOD_LOOKUP, "", FRESH, TRUE_KEY), 400, "no name");
	write_request(STUN_METHOD_LOOKUP, "", NO_NONCE, NO_PROOF);
	request.unknown_count = 1;
	name_auth_check(&auth, &registry, &request, &sender, NOW_MS, &grant);
	is_uint(grant.code, 420, "what must be understood comes before all else");
}

/* Only a request that is proven uses a nonce up. */
static void test_use(void)
{
	is_uint(judge(STUN_METHOD_CONNECT, "home", FRESH, WRONG_KEY), 401, "a false CONNECT");
	is_uint(judge(STUN_METHOD_CONNECT, "home", FRESH, TRUE_KEY), 0, "then the true one works");
	is_uint(judge(STUN_METHOD_CONNECT, "home", FRESH, TRUE_KEY), 438, "once");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "a LOOKUP works,");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "again and again");
	is_uint(judge(STUN_METHOD_RELAY, "home", FRESH, TRUE_KEY), 438,
		"a RELAY with a nonce that is for no connection does not");
}

/* Who has no key cannot use up what those may ask who have it; nor may who forges a source. */
static void test_limits(void)
{
	static struct rate_limit_source memory[RATE_LIMIT_SET << 2];
	static const uint8_t key[SIPHASH_KEY_SIZE];
	struct rate_limit_table sources;
	unsigned refused = 0;

	auth.each = (struct rate_limit_quota){.per_second = 1, .burst = 2};
	for (int i = 0; i < 9; i++)
		refused += judge(STUN_METHOD_LOOKUP, "home", FRESH, WRONG_KEY) == 401;
	is_uint(refused, 9, "wrong keys are refused, and not charged to the name");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "the true one is heard");
	for (int i = 0; i < 9; i++)
		judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY);
	is_uint(grant.code, 486, "until it has asked too much");
	auth.each.per_second = 0;

	rate_limit_table_init(
		&sources, memory, 2, (struct rate_limit_quota){.per_second = 1, .burst = 2}, key);
	auth.sources = &sources;
	sender.stream = false;
	refused = 0;
	for (int i = 0; i < 9; i++)
		refused += judge(STUN_METHOD_LOOKUP, "home", STALE, TRUE_KEY) == 438;
	is_uint(refused, 9, "a source that is not proven is not charged");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "so it is heard");
	for (int i = 0; i < 9; i++)
		refused = judge(STUN_METHOD_LOOKUP, "home", FRESH, WRONG_KEY);
	is_uint(refused, 1, "once proven it is, and then gets no answer");
	auth.sources = NULL;
	sender.stream = true;
}

/* Its size, and with it all of its bytes up to the nonce. */
static size_t write_refusal(const char *name, enum nonce_kind nonce, uint8_t out[STUN_DATAGRAM_MAX])
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	unsigned code = judge(STUN_METHOD_REGISTER, name, nonce, WRONG_KEY);
	struct wire_writer writer;

	memset(out, 0, STUN_DATAGRAM_MAX);
	stun_begin(&writer, out, STUN_DATAGRAM_MAX, STUN_ERROR, STUN_METHOD_REGISTER, transaction);
	name_auth_put_refusal(&auth, &writer, &request, &sender, &grant, code, NOW_MS);
	return stun_finish(&writer);
}

static void test_refusal(void)
{
	uint8_t known[STUN_DATAGRAM_MAX], unknown[STUN_DATAGRAM_MAX];

	for (enum nonce_kind nonce = NO_NONCE; nonce <= FRESH; nonce++) {
		size_t size = write_refusal("home", nonce, known);

		ok(size > NONCE_SIZE && write_refusal("nobody", nonce, unknown) == size &&
				memcmp(known, unknown, size - NONCE_SIZE) == 0,
			"a refusal does not tell whether there is such a name (%d)", (int)nonce);
	}
}

static uint32_t judge_indication(enum stun_class class, const char *name, uint8_t first)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	struct key key = {.secret = {first}};
	struct stun_message message;
	struct wire_writer writer;

	stun_begin(&writer, bytes, sizeof(bytes), class, STUN_METHOD_PREDICTION, transaction);
	stun_put(&writer, STUN_USERNAME, name, strlen(name));
	stun_auth_put(&writer, key.secret, KEY_SECRET_SIZE);
	if (stun_parse(&message, bytes, stun_finish(&writer)) < 0)
		bail_out("an indication that is none");
	return name_auth_check_indication(&auth, &registry, &message);
}

static void test_indication(void)
{
	is_uint(judge_indication(STUN_INDICATION, "home", 1), registry_find(&registry, "home"),
		"an indication with the key is its name's");
	is_uint(judge_indication(STUN_INDICATION, "home", 2), REGISTRY_NONE, "with another, no");
	is_uint(judge_indication(STUN_INDICATION, "nobody", 1), REGISTRY_NONE, "of nobody, no");
	is_uint(judge_indication(STUN_REQUEST, "home", 1), REGISTRY_NONE, "a request is none");
}

/* While a key is changed the name has two, of which either proves. */
static void test_two_keys(void)
{
	static struct key two[] = {
		{.name = "home", .secret = {3}}, {.name = "home", .secret = {1}}};
	static const struct key_file changed = {.rows = two, .count = 2};

	registry_set_keys(&registry, &changed);
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "the old key proves");
	ok(grant.old, "as the old one");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, WRONG_KEY), 401, "a third does not");
	is_uint(judge_indication(STUN_INDICATION, "home", 1), registry_find(&registry, "home"),
		"the old key proves an indication");
	rows[0].secret[0] = 3;
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "the new key proves");
	ok(!grant.old, "as the new one");
	registry_set_keys(&registry, &keys);
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 0, "and alone, too");
	rows[0].secret[0] = 1;
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, TRUE_KEY), 401, "the old one, then, no");
	is_uint(judge(STUN_METHOD_LOOKUP, "home", FRESH, NO_PROOF), 401, "nor none");
	registry_set_keys(&registry, &keys);
}

int main(void)
{
	if (registry_open(&registry) != 0)
		bail_out("no memory");
	registry_set_keys(&registry, &keys);
	name_auth_open(&auth);
	test_order();
	test_use();
	test_limits();
	test_refusal();
	test_indication();
	test_two_keys();
	registry_close(&registry);
	return done_testing();
}
