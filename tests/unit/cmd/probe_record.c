/* The FILE of -c: what is written is read again, and all else is left as it is. */
#include "cmd/probe_record.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

static char path[] = "/tmp/natpunch-record-XXXXXX";
static char ipv4_line[MAPPING_RECORD_SIZE], ipv6_line[MAPPING_RECORD_SIZE];

static struct mapping make_mapping(const char *ip)
{
	struct mapping mapping = {
		.reflector = "r.example.org:3478", .method = "repair", .protocol = MAPPING_TCP};

	if (addr_parse_ip(&mapping.public_addr, ip) != 0)
		bail_out("no address: %s", ip);
	mapping.public_addr.port = 41843;
	mapping.local = mapping.public_addr;
	mapping.local.port = 22;
	return mapping;
}

static void put_file(const char *one, const char *two, const char *three, const char *four)
{
	char text[4 * MAPPING_RECORD_SIZE];
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int size = snprintf(text, sizeof(text), "%s%s%s%s", one, two, three, four);

	if (fd < 0 || write(fd, text, (size_t)size) != size)
		bail_out("cannot write %s", path);
	close(fd);
}

static void test_age(void)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	uint64_t age;

	put_file("", "", "", "");
	ok(probe_record_age(path) < 300, "a file that was just written");
	times[1] = (struct timespec){.tv_sec = time(NULL) - 7200};
	if (utimensat(AT_FDCWD, path, times, 0) != 0)
		bail_out("utimensat");
	age = probe_record_age(path);
	ok(age >= 7200 && age < 7500, "one of two hours ago");
	times[1].tv_sec += 86400;
	if (utimensat(AT_FDCWD, path, times, 0) != 0)
		bail_out("utimensat");
	is_uint(probe_record_age(path), 0, "one from tomorrow has no age");
	is_uint(probe_record_age("/nonexistent/file"), 0, "nor has none");
}

static void test_written(void)
{
	struct probe_records written = {.ipv4 = {.known = true, .told = true}}, found;
	struct error error;

	written.ipv4.mapping = make_mapping("203.0.113.2");
	written.ipv6 = (struct probe_record){.known = true, .mapping = make_mapping("2001:db8::2")};
	is_int(probe_record_write(path, &written, &error), 0, "both are written");
	is_int(probe_record_read(path, &found, &error), 0, "and read");
	ok(found.ipv4.known && found.ipv4.told &&
			mapping_equal(&found.ipv4.mapping, &written.ipv4.mapping),
		"IPv4, which the hook has taken");
	ok(found.ipv6.known && !found.ipv6.told &&
			mapping_equal(&found.ipv6.mapping, &written.ipv6.mapping),
		"and IPv6, which it has not");

	is_int(probe_record_note(path, &written.ipv6.mapping, true, &error), 0, "it takes that");
	is_int(probe_record_read(path, &found, &error), 0, "which is read");
	ok(found.ipv6.told && found.ipv4.told && found.ipv4.known, "of IPv6, and IPv4 stays");
	written.ipv6.mapping.public_addr.port++;
	is_int(probe_record_note(path, &written.ipv6.mapping, false, &error), 0, "of another one");
	is_int(probe_record_read(path, &found, &error), 0, "nothing");
	ok(found.ipv6.told, "is noted");
}

static void expect(const char *name, bool ipv4, bool ipv6)
{
	struct probe_records found;
	struct error error;
	bool whole = ipv4 || ipv6;

	is_int(probe_record_read(path, &found, &error), whole ? 0 : -1, "%s", name);
	if (whole)
		ok(found.ipv4.known == ipv4 && found.ipv6.known == ipv6, "%s: what it has", name);
	else
		is_int(error.status, EXIT_STATUS_LOCAL, "%s: an error of this machine", name);
}

static void test_read(void)
{
	static const char mark[] = "# not told\n";

	put_file(ipv4_line, "", "", "");
	expect("IPv4 alone", true, false);
	put_file(ipv6_line, mark, "", "");
	expect("IPv6 alone, not told", false, true);
	put_file(ipv6_line, mark, ipv4_line, mark);
	expect("both, not told", true, true);
	put_file("", "", "", "");
	expect("nothing", false, false);
	put_file(ipv4_line, ipv4_line, "", "");
	expect("one twice", false, false);
	put_file(ipv4_line, ipv6_line, "", "");
	expect("in the other order", false, false);
	put_file(ipv6_line, ipv4_line, ipv6_line, "");
	expect("three", false, false);
	put_file(ipv4_line, mark, mark, "");
	expect("not told twice", false, false);
	put_file(mark, ipv4_line, "", "");
	expect("the mark first", false, false);
	put_file(ipv6_line, ipv4_line, "x", "");
	expect("a byte behind", false, false);
	ipv4_line[strlen(ipv4_line) - 1] = '\0';
	put_file(ipv4_line, "", "", "");
	expect("without a newline", false, false);
	unlink(path);
	is_int(probe_record_read(
		       path, &(struct probe_records){.ipv4.known = true}, &(struct error){0}),
		0, "no file is no error");
}

int main(void)
{
	struct mapping ipv4 = make_mapping("203.0.113.2"), ipv6 = make_mapping("2001:db8::2");
	int fd = mkstemp(path);

	if (fd < 0 || mapping_encode_record(&ipv4, ipv4_line) != 0 ||
		mapping_encode_record(&ipv6, ipv6_line) != 0)
		bail_out("cannot begin");
	close(fd);
	test_written();
	test_age();
	test_read();
	return done_testing();
}
