/*
 * decode(encode(m)) = m for every mapping, the one text for each, and no other text is taken; every
 * line that is printed is one line of printable ASCII, and a shell reads back what went in.
 */
#include "natpunch/base/mapping.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS 5000

static struct random rng;
static struct guard guard;

static struct addr pick_addr(void)
{
	struct addr addr = {.family = random_once(&rng, 2) ? ADDR_IPV4 : ADDR_IPV6};

	if (!random_once(&rng, 4))
		random_fill(&rng, addr.ip, addr_ip_size(&addr));
	if (addr.family == ADDR_IPV6 && random_once(&rng, 4))
		addr.scope = (uint32_t)random_number(&rng);
	addr.port = (uint16_t)(1 + random_below(&rng, 65535));
	return addr;
}

static void pick_text(char *out, size_t capacity, bool wild)
{
	static const char tame[] = "abz09.:-_[]%/ ~!\"#$&()*;<=>?^`{|}";
	size_t size = random_below(&rng, random_once(&rng, 4) ? capacity : 12);

	if (size >= capacity)
		size = capacity - 1;
	for (size_t i = 0; i < size; i++)
		out[i] = wild ? (char)(1 + random_below(&rng, 255))
			      : tame[random_below(&rng, sizeof(tame) - 1)];
	out[size] = '\0';
}

static struct mapping pick_mapping(bool wild)
{
	struct mapping mapping = {
		.public_addr = pick_addr(),
		.local = pick_addr(),
		.protocol = random_once(&rng, 2) ? MAPPING_TCP : MAPPING_UDP,
	};

	if (random_once(&rng, 2))
		mapping.router_port = (uint16_t)random_number(&rng);
	pick_text(mapping.reflector, sizeof(mapping.reflector), wild);
	pick_text(mapping.method, sizeof(mapping.method), wild);
	return mapping;
}

static bool same(const struct mapping *a, const struct mapping *b)
{
	return mapping_equal(a, b) && addr_equal(&a->local, &b->local) &&
	       a->public_addr.scope == b->public_addr.scope && a->local.scope == b->local.scope &&
	       a->router_port == b->router_port && strcmp(a->reflector, b->reflector) == 0 &&
	       strcmp(a->method, b->method) == 0;
}

static int decode(struct mapping *out, const char *text, size_t size)
{
	return mapping_decode_record(out, (char *)guard_copy_end(&guard, text, size), size);
}

static bool round_trip_holds(void)
{
	struct mapping mapping = pick_mapping(false), back;
	char text[MAPPING_RECORD_SIZE];

	if (mapping_encode_record(&mapping, text) == 0 && decode(&back, text, strlen(text)) == 0 &&
		same(&mapping, &back))
		return true;
	diag("%s", text);
	return false;
}

/* A damaged record is refused, or it is the record of the mapping that it says. */
static bool damage_holds(void)
{
	struct mapping mapping = pick_mapping(false), back;
	char text[MAPPING_RECORD_SIZE], again[MAPPING_RECORD_SIZE];
	size_t size;

	if (mapping_encode_record(&mapping, text) < 0)
		return false;
	size = strlen(text);
	if (decode(&back, text, random_below(&rng, size)) == 0)
		return false;
	for (size_t changes = 1 + random_below(&rng, 3); changes > 0; changes--) {
		size_t at = random_below(&rng, size);

		if (random_once(&rng, 3))
			memmove(text + at, text + at + 1, size-- - at);
		else if (random_once(&rng, 2))
			text[at] = (char)random_next(&rng);
		else
			text[at] = text[random_below(&rng, size)];
	}
	if (decode(&back, text, size) < 0)
		return true;
	return mapping_encode_record(&back, again) == 0 && strlen(again) == size &&
	       memcmp(again, text, size) == 0;
}

static bool is_one_line(const char *line)
{
	for (; *line != '\0'; line++) {
		if (*line < 0x20 || *line > 0x7e)
			return false;
	}
	return true;
}

/* Wild texts, which no record takes, still print as one line, or not at all. */
static bool lines_hold(void)
{
	static const char *const formats[] = {"text", "ssh", "json", "env", "%a %p %A %P %r %m %%"};
	struct mapping mapping = pick_mapping(true);
	char *line = (char *)guard_at_end(&guard, MAPPING_LINE_SIZE);

	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
		if (mapping_format(&mapping, formats[i], line) == 0 && !is_one_line(line)) {
			diag("%s: %s", formats[i], line);
			return false;
		}
	}
	return true;
}

/* Formats of random letters: what the check accepts prints, what it refuses does not. */
static bool formats_hold(void)
{
	static const char alphabet[] = "%%%apAPrmxt ";
	struct mapping mapping = pick_mapping(false);
	char format[12], line[MAPPING_LINE_SIZE];
	size_t size = random_below(&rng, sizeof(format));

	for (size_t i = 0; i < size; i++)
		format[i] = alphabet[random_below(&rng, sizeof(alphabet) - 1)];
	format[size] = '\0';
	mapping.reflector[50] = '\0';
	if ((mapping_check_format(format) == NULL) == (mapping_format(&mapping, format, line) == 0))
		return true;
	diag("'%s'", format);
	return false;
}

int main(void)
{
	int round;

	rng = random_start();
	guard = guard_make(MAPPING_RECORD_SIZE);
	for (round = 0; round < ROUNDS && round_trip_holds(); round++)
		;
	is_int(round, ROUNDS, "every mapping comes back from its record");
	for (round = 0; round < 2 * ROUNDS && damage_holds(); round++)
		;
	is_int(round, 2 * ROUNDS, "a damaged record is refused, or another mapping's");
	for (round = 0; round < ROUNDS && lines_hold(); round++)
		;
	is_int(round, ROUNDS, "lines are lines");
	for (round = 0; round < ROUNDS && formats_hold(); round++)
		;
	is_int(round, ROUNDS, "what is accepted as a format prints");
	return done_testing();
}
