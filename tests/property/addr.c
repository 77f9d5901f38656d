/*
 * parse(format(a)) = a for every address; one text for each; and the C library, where it is
 * strict, agrees on what an IPv6 text means.
 */
#include "natpunch/base/addr.h"

#include <arpa/inet.h>

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 50000

static struct random rng;
static struct guard guard;

/* Often zeros, so that runs of them occur. */
static struct addr pick_addr(void)
{
	struct addr addr = {.family = random_once(&rng, 4) ? ADDR_IPV4 : ADDR_IPV6};
	size_t size = addr_ip_size(&addr);

	addr.port = (uint16_t)random_number(&rng);
	for (size_t i = 0; i < size; i += 2) {
		uint16_t group = random_once(&rng, 2) ? 0 : (uint16_t)random_number(&rng);

		addr.ip[i] = (uint8_t)(group >> 8);
		addr.ip[i + 1] = (uint8_t)group;
	}
	if (addr.family == ADDR_IPV6 && random_once(&rng, 8)) {
		memset(addr.ip, 0, 12);
		addr.ip[10] = addr.ip[11] = random_once(&rng, 8) ? 0 : 0xff;
	}
	if (addr.family == ADDR_IPV6 && random_once(&rng, 8))
		addr.scope = (uint32_t)random_number(&rng);
	return addr;
}

static bool round_trip_holds(void)
{
	struct addr addr = pick_addr(), back;
	char text[ADDR_IP_TEXT_SIZE], again[ADDR_IP_TEXT_SIZE];
	uint8_t libc[16];

	addr_format_ip(&addr, (char *)guard_at_end(&guard, ADDR_IP_TEXT_SIZE));
	memcpy(text, guard_at_end(&guard, ADDR_IP_TEXT_SIZE), sizeof(text));
	if (addr_parse_ip(&back, (char *)guard_copy_end(&guard, text, strlen(text) + 1)) < 0 ||
		!addr_equal_ip(&addr, &back) || back.scope != addr.scope || back.port != 0 ||
		strcmp(text, addr_format_ip(&back, again)) != 0) {
		diag("'%s' does not come back", text);
		return false;
	}
	/* Only ours takes scopes. */
	if (addr.scope != 0)
		return true;
	if (inet_pton(addr.family == ADDR_IPV4 ? AF_INET : AF_INET6, text, libc) == 1 &&
		memcmp(libc, addr.ip, addr_ip_size(&addr)) == 0)
		return true;
	diag("the C library does not read '%s' as we do", text);
	return false;
}

/* A text of an address, damaged: what we take, the C library takes as well, and means the same. */
static bool damaged_holds(void)
{
	static const char alphabet[] = "0123456789abcfF::::....g ";
	struct addr addr = pick_addr(), back;
	char text[ADDR_IP_TEXT_SIZE];
	uint8_t libc[16];
	size_t size, changes = 1 + random_below(&rng, 3);

	addr.scope = 0;
	addr_format_ip(&addr, text);
	size = strlen(text);
	for (; changes > 0; changes--) {
		size_t at = random_below(&rng, size);
		char c = alphabet[random_below(&rng, sizeof(alphabet) - 1)];

		if (random_once(&rng, 3) && size > 1)
			memmove(text + at, text + at + 1, size-- - at);
		else if (random_once(&rng, 2))
			text[at] = c;
		else if (size + 2 < sizeof(text)) {
			memmove(text + at + 1, text + at, ++size - at);
			text[at] = c;
		}
	}
	if (addr_parse_ip(&back, (char *)guard_copy_end(&guard, text, strlen(text) + 1)) < 0)
		return true;
	if (inet_pton(back.family == ADDR_IPV4 ? AF_INET : AF_INET6, text, libc) == 1 &&
		memcmp(libc, back.ip, addr_ip_size(&back)) == 0)
		return true;
	diag("'%s' is taken, but not by the C library", text);
	return false;
}

/* What the C library takes of the damaged texts, we take: nothing valid is refused. */
static bool complete_holds(void)
{
	static const char *const parts[] = {
		"::", ":", "0", "1", "ffff", "1.2.3.4", "00ab", "a", ":2"};
	char text[64] = "";
	struct addr back;
	uint8_t libc[16];
	int taken;

	for (size_t i = 1 + random_below(&rng, 12); i > 0; i--) {
		const char *part = parts[random_below(&rng, sizeof(parts) / sizeof(*parts))];

		if (strlen(text) + strlen(part) < sizeof(text))
			strncat(text, part, sizeof(text) - strlen(text) - 1);
	}
	taken = inet_pton(AF_INET6, text, libc) == 1 || inet_pton(AF_INET, text, libc) == 1;
	if ((addr_parse_ip(&back, text) == 0) == taken)
		return true;
	diag("'%s' is %staken by the C library", text, taken ? "" : "not ");
	return false;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(ADDR_IP_TEXT_SIZE);
	for (round = 0; round < ROUNDS && round_trip_holds(); round++)
		;
	is_int(round, ROUNDS, "every address comes back from its text");
	for (round = 0; round < ROUNDS && damaged_holds(); round++)
		;
	is_int(round, ROUNDS, "what is taken means what the C library means");
	for (round = 0; round < ROUNDS && complete_holds(); round++)
		;
	is_int(round, ROUNDS, "and what the C library takes is taken");
	return done_testing();
}
