/*
 * The registry's state file as text: what is written comes back, and nothing else is taken.
 */
#include "reflector/registry_format.h"

#include "tap.h"

static struct registry_record make_record(const char *name, const char *ip, uint16_t port)
{
	struct registry_record record = {.protocol = MAPPING_TCP,
		.local_port = 22,
		.seconds = 75,
		.heard = 1786000000,
		.key = 4000000000};

	memcpy(record.name, name, strlen(name) + 1);
	if (addr_parse_ip(&record.addr, ip) != 0)
		bail_out("%s", ip);
	record.addr.port = port;
	return record;
}

static size_t write_file(const struct registry_record *records, uint32_t count, char *out)
{
	size_t size = registry_format_write_head(count, out);

	for (uint32_t i = 0; i < count; i++)
		size += registry_format_write_record(&records[i], out + size);
	return size + registry_format_write_tail(out, size, out + size);
}

/* How many records, -1 when the file is no file, -2 when a line is no record. */
static int count_records(const char *data, size_t size)
{
	struct registry_reader reader;
	struct registry_record record;
	const char *problem;
	int result, count = 0;

	if (registry_format_check(&reader, data, size, &problem) != 0)
		return -1;
	while ((result = registry_format_next(&reader, &record)) > 0)
		count++;
	return result < 0 ? -2 : count;
}

static void test_text(void)
{
	struct registry_record record = make_record("home", "203.0.113.2", 40022);
	char text[1024];
	size_t size = write_file(&record, 1, text);

	is_str(text,
		"natpunch-registry-2 1\n"
		"home tcp 203.0.113.2 40022 22 75 1786000000 4000000000\n"
		"sha256 158028b0cd068d1ea70fea946333fbfba89a2fb88a4e73292222bc167103db98\n",
		"the file's text, which must not change");
	is_uint(size, strlen(text), "its size");
	is_int(count_records(text, size), 1, "one record");
	size = write_file(NULL, 0, text);
	is_int(count_records(text, size), 0, "none is fine");
	is_int(count_records("", 0), -1, "an empty file is not");
}

static void test_round_trip(void)
{
	struct registry_record records[3] = {make_record("home", "203.0.113.2", 1),
		make_record("0123456789012345678901234567890123456789012345678901234567890ab",
			"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
		make_record("w.x_y-z", "::", 443)};
	struct registry_reader reader;
	struct registry_record back;
	const char *problem;
	char text[1024];

	records[1].local_port = records[1].seconds = 65535;
	records[1].heard = INT64_MAX / 1000;
	records[1].protocol = MAPPING_UDP;
	records[2].heard = 0;
	size_t size = write_file(records, 3, text);
	is_int(registry_format_check(&reader, text, size, &problem), 0, "three records");
	for (int i = 0; i < 3; i++) {
		is_int(registry_format_next(&reader, &back), 1, "record %d", i);
		ok(memcmp(&back, &records[i], sizeof(back)) == 0, "%s is the same", back.name);
	}
	is_int(registry_format_next(&reader, &back), 0, "and no more");
}

/* Damage of any one byte, a cut at any place, anything behind it. */
static void test_damage(void)
{
	struct registry_record records[2] = {
		make_record("home", "203.0.113.2", 40022), make_record("work", "::1", 1)};
	char text[1024];
	size_t size = write_file(records, 2, text);
	int accepted = 0;

	for (size_t i = 0; i < 8 * size; i++) {
		text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
		accepted += count_records(text, size) >= 0;
		text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
	}
	for (size_t i = 0; i < size; i++)
		accepted += count_records(text, i) >= 0;
	text[size] = '\n';
	accepted += count_records(text, size + 1) >= 0;
	is_int(accepted, 0, "no damaged file is taken");
}

/* With a checksum that is right: what is no record is none all the same. */
static void test_forged(void)
{
	static const char *const files[] = {
		"natpunch-registry-2 1\nHome tcp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 1\nhome sctp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 0 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 65536 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 01 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 65536 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 18446744073709551615 5\n",
		"natpunch-registry-2 1\nhome tcp 2001:DB8::1 1 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp example.org 1 22 0 1 5\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 1 5 2\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 1 5 \n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 1\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 1 x\n",
		"natpunch-registry-2 1\nhome tcp 203.0.113.2 1 22 0 1 4294967296\n",
		"natpunch-registry-1 1\nhome tcp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 1\n",
		"natpunch-registry-2 0\nhome tcp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 2\nhome tcp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 01\nhome tcp 203.0.113.2 1 22 0 1 5\n",
		"natpunch-registry-2 4294967296\n",
		"natpunch-registry-3 0\n",
		"natpunch-registry-2 \n",
		"natpunch-registry-2 0",
		"",
	};
	char text[1024];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		size_t size = strlen(files[i]);

		memcpy(text, files[i], size);
		size += registry_format_write_tail(text, size, text + size);
		ok(count_records(text, size) < 0, "refused: file %zu", i);
	}
}

int main(void)
{
	test_text();
	test_round_trip();
	test_damage();
	test_forged();
	return done_testing();
}
