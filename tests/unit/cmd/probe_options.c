/* What a command line of probe comes to, where that is more than a word for word reading. */
#include "cmd/probe_options.h"

#include <getopt.h>

#include "natpunch/os/log.h"
#include "tap.h"

extern const struct command command_probe;

#define WORDS_MAX 8

static uint64_t timeout_of(const char *const words[])
{
	static char copies[WORDS_MAX][32];
	char *argv[WORDS_MAX + 1] = {NULL};
	struct probe_options options;
	struct error error;
	int count = 0;

	for (; words[count] != NULL; count++) {
		snprintf(copies[count], sizeof(copies[count]), "%s", words[count]);
		argv[count] = copies[count];
	}
	optind = 0;
	if (probe_options_read(&options, &command_probe, count, argv, &error) != 0)
		bail_out("%s", error.text);
	return options.request.timeout_ms;
}

#define TIMEOUT(...)                                                                               \
	timeout_of((const char *const[]){"probe", "-r", "192.0.2.1", __VA_ARGS__, NULL})

/* With -F and -V there may be three addresses to be dialled, one after another. */
static void test_timeout(void)
{
	is_uint(TIMEOUT("-q"), 5000, "5 s");
	is_uint(TIMEOUT("-V"), 5000, "with -V");
	is_uint(TIMEOUT("-F"), 5000, "with -F");
	is_uint(TIMEOUT("-F", "-V"), 15000, "15 s with both");
	is_uint(TIMEOUT("-F", "-V", "-t", "4"), 4000, "unless -t says otherwise");
}

int main(void)
{
	log_set_level(LOG_LEVEL_QUIET);
	test_timeout();
	return done_testing();
}
