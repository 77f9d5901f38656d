/*
 * The reflector's nonces: good for one address, one name, a while, and until the name changes.
 */
#include "natpunch/proto/nonce.h"

#include "tap.h"

#define START_MS (100 * NONCE_PERIOD_MS)

static const uint8_t secret[NONCE_SECRET_SIZE] = {1, 2, 3};
static const uint8_t salt[NONCE_SALT_SIZE] = {4, 5, 6};

static struct addr make_addr(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("%s", ip);
	addr.port = port;
	return addr;
}

static void test_subject(void)
{
	struct addr here = make_addr("203.0.113.2", 1), port = make_addr("203.0.113.2", 2);
	struct addr there = make_addr("203.0.113.3", 1), six = make_addr("2001:db8::1", 1);
	/* An IPv6 address whose first bytes are those of the IPv4 address. */
	struct addr alike = make_addr("cb00:7102::", 1);
	struct nonce_subject home = {.source = &here, .name = "home", .changes = 7};
	const struct {
		struct nonce_subject subject;
		bool fresh, unused;
		const char *name;
	} rows[] = {
		{{&here, "home", 7, 0}, true, true, "the same"},
		{{&port, "home", 7, 0}, true, true, "another port of the address"},
		{{&there, "home", 7, 0}, false, true, "another address"},
		{{&six, "home", 7, 0}, false, true, "another family"},
		{{&alike, "home", 7, 0}, false, true, "another family with the same bytes"},
		{{&here, "work", 7, 0}, false, false, "another name"},
		{{&here, "hom", 7, 0}, false, false, "the begin of the name"},
		{{&here, "home", 8, 0}, true, false, "a name that changed"},
		{{&here, "home", 0, 0}, true, false, "a name that began anew"},
		{{&here, "home", 7, 1}, false, true, "where one of a connection is wanted"},
	};
	char nonce[NONCE_SIZE];

	nonce_make(secret, &home, salt, START_MS, nonce);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		is_int(nonce_is_fresh(secret, &rows[i].subject, nonce, NONCE_SIZE, START_MS),
			rows[i].fresh, "%s: fresh", rows[i].name);
		is_int(nonce_is_unused(secret, &rows[i].subject, nonce, NONCE_SIZE), rows[i].unused,
			"%s: unused", rows[i].name);
	}
}

/* What RELAY takes: a nonce that is good for one connection. */
static void test_connection(void)
{
	struct addr here = make_addr("203.0.113.2", 1);
	struct nonce_subject bound = {
		.source = &here, .name = "home", .connection = 5ULL << 32 | 9};
	struct nonce_subject other = bound, next = bound, any = bound;
	char nonce[NONCE_SIZE];

	other.connection = 6ULL << 32 | 9;
	next.connection = 5ULL << 32 | 10;
	any.connection = 0;
	nonce_make(secret, &bound, salt, START_MS, nonce);
	ok(nonce_is_fresh(secret, &bound, nonce, NONCE_SIZE, START_MS), "over its connection");
	ok(!nonce_is_fresh(secret, &other, nonce, NONCE_SIZE, START_MS), "not over another");
	ok(!nonce_is_fresh(secret, &next, nonce, NONCE_SIZE, START_MS),
		"nor over the next in its slot");
	ok(!nonce_is_fresh(secret, &any, nonce, NONCE_SIZE, START_MS), "nor for what is not bound");
}

static void test_time(void)
{
	struct addr here = make_addr("203.0.113.2", 1);
	struct nonce_subject home = {.source = &here, .name = "home"};
	const struct {
		uint64_t at;
		bool fresh;
		const char *name;
	} rows[] = {
		{START_MS, true, "at once"},
		{START_MS + 2 * NONCE_PERIOD_MS - 1, true, "to the end of the next period"},
		{START_MS + 2 * NONCE_PERIOD_MS, false, "and no longer"},
		{START_MS - 1, false, "not before it was made"},
		{0, false, "nor at the begin of time"},
	};
	char nonce[NONCE_SIZE];

	nonce_make(secret, &home, salt, START_MS, nonce);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int(nonce_is_fresh(secret, &home, nonce, NONCE_SIZE, rows[i].at), rows[i].fresh,
			"%s", rows[i].name);
	nonce_make(secret, &home, salt, 0, nonce);
	ok(nonce_is_fresh(secret, &home, nonce, NONCE_SIZE, 5), "one of the first period");
}

static void test_forged(void)
{
	struct addr here = make_addr("203.0.113.2", 1);
	struct nonce_subject home = {.source = &here, .name = "home"};
	uint8_t other[NONCE_SECRET_SIZE] = {1, 2, 4};
	char nonce[NONCE_SIZE + 1] = "", again[NONCE_SIZE];
	int passed = 0;

	nonce_make(secret, &home, salt, START_MS, nonce);
	for (size_t i = 0; i < 8 * NONCE_SIZE; i++) {
		nonce[i / 8] = (char)(nonce[i / 8] ^ 1 << i % 8);
		passed += nonce_is_fresh(secret, &home, nonce, NONCE_SIZE, START_MS) &&
			  nonce_is_unused(secret, &home, nonce, NONCE_SIZE);
		nonce[i / 8] = (char)(nonce[i / 8] ^ 1 << i % 8);
	}
	is_int(passed, 0, "no flipped bit passes");
	for (size_t size = 0; size <= NONCE_SIZE + 1; size++)
		passed += nonce_is_fresh(secret, &home, nonce, size, START_MS);
	is_int(passed, 1, "nor another length");
	ok(!nonce_is_fresh(other, &home, nonce, NONCE_SIZE, START_MS), "nor another secret");
	nonce_make(secret, &home, secret, START_MS, again);
	ok(memcmp(nonce, again, NONCE_SIZE) != 0, "two are never alike");
	ok(strspn(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") >=
			NONCE_SIZE,
		"all of it can be in a quoted string (RFC 8489 14.10)");
}

int main(void)
{
	test_subject();
	test_connection();
	test_time();
	test_forged();
	return done_testing();
}
