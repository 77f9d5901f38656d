/*
 * Fuzzes the reader of a router's answers to requests; the first byte says to which. And a request
 * that is made of what was read stays within its bounds.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/igd_action.h"

static void check_request(const struct igd_answer *answer)
{
	struct igd_service service = {
		.type = (enum igd_service_type)(answer->error % IGD_SERVICE_TYPES),
		.control = {.server = {.family = ADDR_IPV4, .port = answer->port}, .path = "/"}};
	struct igd_mapping mapping = {.protocol = MAPPING_TCP,
		.external_port = answer->port,
		.internal = answer->external,
		.lease = answer->error};
	char request[IGD_REQUEST_SIZE];

	fuzz_check(
		igd_write_request(answer->action, &service, &mapping, request) == strlen(request));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct igd_answer answer;
	bool is_answer;

	if (size == 0)
		return 0;
	igd_answer_start(&answer, (enum igd_action)(data[0] % IGD_ACTIONS));
	igd_answer_take(&answer, (const char *)data + 1, size - 1);
	is_answer = igd_answer_end(&answer);
	fuzz_check(answer.error <= 999);
	fuzz_check(answer.external.family == ADDR_NONE || answer.external.family == ADDR_IPV4);
	fuzz_check(!is_answer || answer.is_response || answer.error != 0);
	fuzz_check(!is_answer || answer.action != IGD_ADD_ANY || answer.error != 0 ||
		   answer.port != 0);
	check_request(&answer);
	return 0;
}
