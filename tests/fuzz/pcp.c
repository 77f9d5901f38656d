/*
 * Fuzzes the reader of what claims to be a router's answer. The first byte chooses the request; the
 * rest is the datagram. What passes is for this request, and no address or port comes out of a
 * message that has none.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/pcp.h"

static void check_answer(const struct pcp_request *request, const uint8_t *data, size_t size,
	const struct pcp_answer *answer)
{
	bool pcp = request->kind == PCP_MAP || request->kind == PCP_ANNOUNCE;

	fuzz_check(size >= (pcp ? 24 : 8) && size <= PCP_ANSWER_MAX);
	fuzz_check(data[0] == (pcp ? 2 : 0) && (data[1] & 0x80) != 0);
	if (request->kind == PCP_MAP && answer->result != 1)
		fuzz_check(memcmp(data + 24, request->nonce, PCP_NONCE_SIZE) == 0);
	if (request->kind == PCP_MAP && answer->result == 0)
		fuzz_check(answer->external.port != 0 || request->lifetime == 0);
	if (request->kind == PCP_NAT_PMP_ADDRESS || request->kind == PCP_ANNOUNCE)
		fuzz_check(answer->external.port == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pcp_request request = {
		.client = {.family = ADDR_IPV4, .ip = {10, 0, 0, 3}},
		.nonce = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		.protocol = MAPPING_TCP,
		.internal_port = 22,
	};
	uint8_t bytes[PCP_REQUEST_MAX];
	struct pcp_answer answer;
	struct pcp_epoch epoch = {.known = false};
	enum pcp_reading reading;

	if (size == 0)
		return 0;
	request.kind = (enum pcp_kind)(data[0] % 4);
	request.lifetime = data[0] & 0x80 ? 0 : 7200;
	fuzz_check(pcp_write(&request, bytes) <= PCP_REQUEST_MAX);
	reading = pcp_read(&request, data + 1, size - 1, &answer);
	if (reading == PCP_READ_ANSWER)
		check_answer(&request, data + 1, size - 1, &answer);
	if (pcp_is_announcement(data + 1, size - 1))
		fuzz_check(size - 1 >= 12);
	if (reading == PCP_READ_OTHER_VERSION)
		fuzz_check(data[1] != bytes[0]);
	pcp_epoch_take(&epoch, answer.epoch, data[0]);
	fuzz_check(strlen(pcp_result_name(request.kind, answer.result)) > 0);
	return 0;
}
