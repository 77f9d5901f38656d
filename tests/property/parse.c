/*
 * parse_number() against a naive model: a number is what prints as the same digits. And no text of
 * whatever bytes, at a guard page, is overrun by any of the parsers.
 */
#include "natpunch/base/host_port.h"
#include "natpunch/base/parse.h"

#include <inttypes.h>

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 50000

static struct random rng;
static struct guard guard;

/* The digits without zeros in front, of a text that is digits alone; else NULL. */
static const char *significant(const char *text)
{
	if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
		return NULL;
	text += strspn(text, "0");
	return *text == '\0' ? "0" : text;
}

/* As numbers: the longer one is larger, of equal length the later in the alphabet. */
static int compare_digits(const char *a, const char *b)
{
	size_t a_size = strlen(a), b_size = strlen(b);

	if (a_size != b_size)
		return a_size < b_size ? -1 : 1;
	return strcmp(a, b);
}

static bool is_number(const char *text, uint64_t min, uint64_t max)
{
	char low[24], high[24];
	const char *digits = significant(text);

	snprintf(low, sizeof(low), "%" PRIu64, min);
	snprintf(high, sizeof(high), "%" PRIu64, max);
	return digits && compare_digits(digits, low) >= 0 && compare_digits(digits, high) <= 0;
}

/* A number near one of the bounds, or any, sometimes with zeros or something odd in it. */
static void pick_text(char text[64], uint64_t min, uint64_t max)
{
	static const char odd[] = "+- x.\t\n:/e\xff";
	uint64_t value = random_number(&rng);
	size_t size;

	if (random_once(&rng, 2))
		value = (random_once(&rng, 2) ? min : max) + random_below(&rng, 5) - 2;
	size = (size_t)snprintf(text, 64, "%0*" PRIu64, (int)random_below(&rng, 24), value);
	if (random_once(&rng, 4))
		size = (size_t)snprintf(
			text, 64, "%" PRIu64 "%" PRIu64, value, random_number(&rng));
	if (random_once(&rng, 4))
		text[random_below(&rng, size)] = odd[random_below(&rng, sizeof(odd) - 1)];
	if (random_once(&rng, 40))
		text[0] = '\0';
}

static bool number_holds(void)
{
	uint64_t a = random_number(&rng), b = random_number(&rng), value = 77;
	uint64_t min = a < b ? a : b, max = a < b ? b : a;
	char text[64], digits[24];
	bool want;
	int got;

	pick_text(text, min, max);
	want = is_number(text, min, max);
	got = parse_number(
		(char *)guard_copy_end(&guard, text, strlen(text) + 1), min, max, &value);
	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	if (got == (want ? 0 : -1) && (want ? strcmp(digits, significant(text)) == 0 : value == 77))
		return true;
	diag("'%s' from %" PRIu64 " to %" PRIu64 " gave %d, %s", text, min, max, got, digits);
	return false;
}

/* Seconds against arithmetic on the number of milliseconds that they were printed from. */
static bool seconds_hold(void)
{
	uint64_t ms = random_number(&rng), max = random_number(&rng), out = 77;
	bool want = ms >= 1 && ms <= max;
	char text[64];

	if (random_once(&rng, 2))
		max = ms + random_below(&rng, 3) - 1;
	want = ms >= 1 && ms <= max;
	snprintf(text, sizeof(text), "%" PRIu64 ".%03" PRIu64 "%s", ms / 1000, ms % 1000,
		random_once(&rng, 2) ? "9" : "");
	if (parse_seconds(text, max, &out) == (want ? 0 : -1) && out == (want ? ms : 77))
		return true;
	diag("'%s' up to %" PRIu64 " gave %" PRIu64, text, max, out);
	return false;
}

/* A text made of what hosts and ports are made of. */
static bool host_port_holds(void)
{
	static const char alphabet[] = "a:[]%.-_1:0f2:\xff /";
	struct host_port out, again;
	size_t size = random_below(&rng, 12);
	char text[16], back[HOST_PORT_HOST_SIZE + 16];
	char *at;

	for (size_t i = 0; i < size; i++)
		text[i] = alphabet[random_below(&rng, sizeof(alphabet) - 1)];
	text[size] = '\0';
	at = (char *)guard_copy_end(&guard, text, size + 1);
	if (host_port_parse_listen(at, &out) == 0 && (out.port == 0 || strlen(out.host) >= size))
		return false;
	if (host_port_parse(at, 3478, &out) < 0)
		return true;
	snprintf(back, sizeof(back), strchr(out.host, ':') ? "[%s]:%u" : "%s:%u", out.host,
		out.port);
	if (host_port_parse(back, 1, &again) == 0 && strcmp(again.host, out.host) == 0 &&
		again.port == out.port)
		return true;
	diag("'%s' was taken, but not '%s'", text, back);
	return false;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(64);
	for (round = 0; round < ROUNDS && number_holds(); round++)
		;
	is_int(round, ROUNDS, "numbers are what prints as the same digits");
	for (round = 0; round < ROUNDS && seconds_hold(); round++)
		;
	is_int(round, ROUNDS, "seconds are what they were printed from");
	for (round = 0; round < ROUNDS && host_port_holds(); round++)
		;
	is_int(round, ROUNDS, "a host and port that is taken is taken again when printed");
	return done_testing();
}
