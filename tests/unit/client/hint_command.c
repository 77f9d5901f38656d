/* Commands for hints: the options that were given, as a shell takes them, and no more than fits. */
#include "natpunch/client/hint_command.h"

#include <stdio.h>
#include <string.h>

#include "tap.h"

static struct host_port reflectors[MAPPING_RACE_REFLECTOR_MAX];

static const char *format(const struct mapping_race_request *request)
{
	static char out[HINT_COMMAND_SIZE];

	memset(out, 'x', sizeof(out));
	return hint_command_format("probe -k", request, out);
}

static void name_reflector(size_t i, const char *host, uint16_t port)
{
	snprintf(reflectors[i].host, sizeof(reflectors[i].host), "%s", host);
	reflectors[i].port = port;
	reflectors[i].port_named = port != 3478;
}

static void test_options(void)
{
	struct mapping_race_request request = {
		.reflectors = reflectors, .reflector_count = 1, .local = {.port = 22}};

	name_reflector(0, "a.example", 3478);
	is_str(format(&request), "natpunch probe -k -r a.example", "port 22 is the default");
	request.local.port = 2222;
	request.family = ADDR_IPV6;
	is_str(format(&request), "natpunch probe -k -6 -p 2222 -r a.example",
		"a port and a family");
	request.family = ADDR_IPV4;
	request.protocol = MAPPING_UDP;
	request.local.port = 22;
	is_str(format(&request), "natpunch probe -k -4 -u -p 22 -r a.example",
		"UDP has no default port");
	request.must_agree = true;
	is_str(format(&request), "natpunch probe -k -4 -u -p 22", "public servers are the default");
}

static void test_reflectors(void)
{
	struct mapping_race_request request = {
		.reflectors = reflectors, .reflector_count = 2, .local = {.port = 22}};
	char host[64];

	name_reflector(0, "2001:db8::1", 3478);
	name_reflector(1, "b.example", 4000);
	is_str(format(&request), "natpunch probe -k -r '[2001:db8::1]' -r b.example:4000",
		"two, and brackets are quoted");
	snprintf(host, sizeof(host), "%050d", 0);
	name_reflector(0, host, 3478);
	snprintf(host, sizeof(host), "%052d", 0);
	name_reflector(1, host, 3478);
	is_uint(strlen(format(&request)), HINT_COMMAND_SIZE - 1, "the second just fits");
	snprintf(host, sizeof(host), "%053d", 0);
	name_reflector(1, host, 3478);
	is_uint(strlen(format(&request)), strlen("natpunch probe -k -r ") + 50,
		"one that does not fit is left out whole");
}

int main(void)
{
	test_options();
	test_reflectors();
	return done_testing();
}
