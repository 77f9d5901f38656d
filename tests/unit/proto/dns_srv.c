/* A name server's answers, well made and ill made, and the order of RFC 2782. */
#include "natpunch/proto/dns_srv.h"

#include "tap.h"

/* Of _natpunch._tcp.example.org; the name begins at 12, example.org at 27. */
#define QUESTION                                                                                   \
	"\x09_natpunch\x04_tcp\x07"                                                                \
	"example\x03org\x00\x00\x21\x00\x01"
#define HEADER(flags, answers) "\x12\x34" flags "\x00\x01\x00" answers "\x00\x00\x00\x00" QUESTION
#define GOOD                   "\x81\x80"
#define RECORD                 "\xc0\x0c\x00\x21\x00\x01\x00\x00\x01\x2c\x00"
#define READ(bytes, answer)    dns_srv_read(bytes, sizeof(bytes) - 1, answer)

static void test_read(void)
{
	static const char two[] = HEADER(GOOD, "\x02") RECORD "\x10\x00\x0a\x00\x01\x0d\x96\x01"
							      "a\x05"
							      "b-c.d\x00";
	static const char pair[] =
		HEADER(GOOD, "\x02") RECORD "\x0a\x00\x0a\x00\x01\x0d\x96\x01"
					    "a\xc0\x1b" RECORD "\x0b\x00\x05\x00\x00\x0d\x97\x01"
					    "b\x01"
					    "c\x00";
	struct dns_srv_answer answer;

	ok(READ(two, &answer) == -1, "fewer records than are counted");
	is_int(READ(pair, &answer), 0, "two records");
	is_uint(answer.count, 2, "both are kept");
	is_str(answer.records[0].target, "a.example.org", "a name that goes on elsewhere");
	is_str(answer.records[1].target, "b.c", "and one that does not");
	ok(answer.records[0].priority == 10 && answer.records[0].weight == 1 &&
			answer.records[0].port == 3478,
		"priority, weight and port");
	for (size_t size = 0; size < sizeof(pair) - 1; size++)
		if (dns_srv_read(pair, size, &answer) == 0 || answer.count != 0)
			fail("cut to %zu bytes", size);
	is_int(dns_srv_read(pair, 12, &answer), -1, "nothing but a header");
}

static void test_refused(void)
{
	static const char itself[] =
		HEADER(GOOD, "\x01") RECORD "\x08\x00\x0a\x00\x01\x0d\x96\xc0\x3e";
	static const char forward[] =
		HEADER(GOOD, "\x01") RECORD "\x09\x00\x0a\x00\x01\x0d\x96\xc0\x40\x00";
	static const char loop[] = HEADER(GOOD, "\x01") RECORD "\x0a\x00\x0a\x00\x01\x0d\x96\x01"
							       "a\xc0\x3e";
	static const char longer[] = HEADER(GOOD, "\x01") RECORD "\x09\x00\x0a\x00\x01\x0d\x96\x01"
								 "a\x00";
	static const char shorter[] = HEADER(GOOD, "\x01") RECORD "\x0a\x00\x0a\x00\x01\x0d\x96\x01"
								  "a\x00\x00";
	static const char request[] = HEADER("\x01\x00", "\x00");
	static const char error[] = HEADER("\x81\x83", "\x00");
	static const char cut[] = HEADER("\x83\x80", "\x00");
	static const char label[] = HEADER(GOOD, "\x01") RECORD "\x09\x00\x0a\x00\x01\x0d\x96\x41"
								"a\x00";
	struct dns_srv_answer answer;

	is_int(READ(itself, &answer), -1, "a name that goes on at itself");
	is_int(READ(forward, &answer), -1, "or further on");
	is_int(READ(loop, &answer), -1, "or in a circle");
	is_int(READ(shorter, &answer), -1, "a record longer than its name");
	is_int(READ(label, &answer), -1, "a label of another kind");
	is_int(READ(request, &answer), -1, "a question is no answer");
	is_int(READ(error, &answer), -1, "an error is none");
	is_int(READ(cut, &answer), -1, "what was cut is none");
	is_int(READ(longer, &answer), 0, "the shortest name");
	is_str(answer.records[0].target, "a", "is read");
}

static void test_useless(void)
{
	static const char none[] = HEADER(GOOD, "\x01") RECORD "\x07\x00\x0a\x00\x01\x0d\x96\x00";
	static const char port[] = HEADER(GOOD, "\x01") RECORD "\x09\x00\x0a\x00\x01\x00\x00\x01"
							       "a\x00";
	static const char blank[] = HEADER(GOOD, "\x01") RECORD "\x09\x00\x0a\x00\x01\x0d\x96\x01"
								" \x00";
	static const char dash[] = HEADER(GOOD, "\x01") RECORD "\x0a\x00\x0a\x00\x01\x0d\x96\x02"
							       "-a\x00";
	static const char other[] = HEADER(GOOD, "\x01") "\xc0\x0c\x00\x05\x00\x01\x00\x00\x01\x2c"
							 "\x00\x02\xc0\x1b";
	struct dns_srv_answer answer;

	ok(READ(none, &answer) == 0 && answer.count == 0, "no such service");
	ok(READ(port, &answer) == 0 && answer.count == 0, "port 0");
	ok(READ(blank, &answer) == 0 && answer.count == 0, "a blank is in no host name");
	ok(READ(dash, &answer) == 0 && answer.count == 0, "and none begins with a dash");
	ok(READ(other, &answer) == 0 && answer.count == 0, "a record of another type");
}

/* The rest of more records than are kept is read, and dropped. */
static void test_many(void)
{
	static const char header[] = HEADER(GOOD, "\x11");
	static const char record[] = RECORD "\x09\x00\x0a\x00\x01\x0d\x96\x01"
					    "a\x00";
	char bytes[sizeof(header) + 17 * sizeof(record)];
	size_t size = sizeof(header) - 1;
	struct {
		struct dns_srv_answer answer;
		struct dns_srv_record behind;
	} out;

	memcpy(bytes, header, size);
	for (int i = 0; i < 17; i++, size += sizeof(record) - 1)
		memcpy(bytes + size, record, sizeof(record) - 1);
	memset(&out, '#', sizeof(out));
	is_int(dns_srv_read(bytes, size, &out.answer), 0, "17 records");
	is_uint(out.answer.count, DNS_SRV_MAX, "16 are kept");
	ok(out.behind.target[0] == '#', "and nothing is written behind them");
}

static void test_name(void)
{
	char out[HOST_PORT_HOST_SIZE], host[HOST_PORT_HOST_SIZE + 1];

	is_int(dns_srv_write_name("example.org", out), 0, "the name that is asked for");
	is_str(out, "_natpunch._tcp.example.org", "is the domain's");
	ok(dns_srv_write_name("example.org.", out) == 0 &&
			strcmp(out, "_natpunch._tcp.example.org") == 0,
		"with a dot at the end, too");
	memset(host, 'a', sizeof(host));
	host[238] = '\0';
	is_int(dns_srv_write_name(host, out), 0, "the longest");
	is_uint(strlen(out), 253, "is as long as a name may be");
	host[238] = 'a';
	host[239] = '\0';
	is_int(dns_srv_write_name(host, out), -1, "and no longer");
	is_int(dns_srv_write_name("", out), -1, "no domain");
	is_int(dns_srv_write_name(".", out), -1, "nor all of them");
}

static struct dns_srv_record make(uint16_t priority, uint16_t weight, uint16_t port)
{
	return (struct dns_srv_record){
		.priority = priority, .weight = weight, .port = port, .target = "a"};
}

static void test_order(void)
{
	struct dns_srv_answer made = {.count = 4,
		.records = {make(2, 0, 1), make(1, 3, 2), make(1, 0, 3), make(1, 1, 4)}};
	static const uint16_t wanted[5] = {3, 2, 2, 2, 4};
	struct dns_srv_answer answer;
	uint32_t random[DNS_SRV_MAX] = {0};

	for (uint32_t i = 0; i < 5; i++) {
		answer = made;
		random[0] = i;
		dns_srv_order(&answer, random);
		is_uint(answer.records[0].port, wanted[i], "%u of 5: who is first", i + 1);
		is_uint(answer.records[3].port, 1, "%u of 5: who is last", i + 1);
	}
	answer = made;
	random[0] = 3;
	random[1] = 1;
	dns_srv_order(&answer, random);
	is_uint(answer.records[1].port, 4, "the second is drawn from those that are left");
	is_uint(answer.records[2].port, 3, "and then the third");
	answer.count = 0;
	dns_srv_order(&answer, random);
	is_uint(answer.count, 0, "no record, no order");
}

int main(void)
{
	test_read();
	test_refused();
	test_useless();
	test_many();
	test_name();
	test_order();
	return done_testing();
}
