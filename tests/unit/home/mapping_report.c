/*
 * What the service manager hears of a mapping, and when a loss is warned of. The registrations are
 * those of three reflectors, set by hand: nothing is sent.
 */
#include "home/mapping_report.h"

#include <string.h>

#include "unit/server.h"

static const struct key key = {.name = "den"};
static unsigned told;

static void count_report(
	void *context, enum hook_event event, const struct mapping_race_result *result)
{
	(void)context;
	(void)event;
	(void)result;
	told++;
}

static const struct keep_config config = {.key = &key, .report = count_report};
static const struct mapping_race_request probe = {.reflector_count = 3};
static struct held kept;
static struct standby standby;
static struct mapping_report report;
static struct mapping_report other;

static void start(void)
{
	memset(&kept, 0, sizeof(kept));
	standby_init(&standby, &key, &probe, &probe, &kept, false, NULL, NULL);
	for (size_t i = 0; i < 3; i++) {
		standby.places[i].standby = &standby;
		standby.places[i].addr = address("192.0.2.1", (uint16_t)(3478 + i));
		standby.places[i].reflector = i;
	}
	told = 0;
	mapping_report_init(&report, &config, ADDR_IPV4, &standby, NULL);
	report.known.mapping.public_addr = address("198.51.100.7", 22);
	report.has_known = true;
}

static void test_registered_at_two_of_three(void)
{
	start();
	mapping_report_count(&report);
	is_str(report.status, "", "before there is a report: nothing");
	mapping_report_tell(&report, HOOK_UP);
	is_str(report.status,
		"kept as 198.51.100.7:22, not verified (-V); den is registered at 0 of 3 "
		"reflectors",
		"at none yet");
	standby.places[0].held.registration.registered = true;
	standby.places[2].held.registration.registered = true;
	mapping_report_count(&report);
	is_str(report.status,
		"kept as 198.51.100.7:22, not verified (-V); den is registered at 2 of 3 "
		"reflectors",
		"at two of three");
	is_int(told, 1, "that is no report");
	mapping_report_tell(&report, HOOK_DOWN);
	is_str(report.status, "no answer; last seen as 198.51.100.7:22", "down: not where");
	mapping_report_tell(&report, HOOK_UNREACHABLE);
	is_str(report.status,
		"not reachable from elsewhere as 198.51.100.7:22; den is registered at 2 of 3 "
		"reflectors",
		"unreachable: where");
}

static void test_losses(void)
{
	struct error error = {.text = "no answer"};

	start();
	mapping_report_take_loss(&report, &error);
	ok(report.warned, "a loss is warned of");
	is_str(report.status, "no mapping: no answer; trying again", "and said");
	mapping_report_take_answer(&report, true);
	ok(!report.warned, "until there is an answer");
}

static void test_absent_family(void)
{
	struct error error = {.text = "no route"};

	start();
	mapping_report_init(&other, &config, ADDR_IPV6, &standby, &report);
	ok(mapping_report_is_absent(&other),
		"a family without a mapping beside one with it is absent");
	mapping_report_take_loss(&other, &error);
	ok(!other.warned, "its loss is not warned of");
	is_str(other.status, "", "nor said");
	other.races_lost = 1;
	ok(mapping_report_is_hopeless(&other), "it is hopeless");
	other.spoke = true;
	ok(!mapping_report_is_hopeless(&other), "except with an address to ask");
}

int main(void)
{
	log_set_level(LOG_LEVEL_QUIET);
	test_registered_at_two_of_three();
	test_losses();
	test_absent_family();
	return done_testing();
}
