/*
 * The bytes are laid out by hand from RFC 6887 sections 7 and 11 and RFC 6886 section 3.
 */
#include "natpunch/proto/pcp.h"

#include <string.h>

#include "tap.h"

#define NONCE 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
#define V4    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff

static const struct pcp_request map = {
	.kind = PCP_MAP,
	.client = {.family = ADDR_IPV4, .ip = {10, 0, 0, 3}},
	.nonce = {NONCE},
	.protocol = MAPPING_TCP,
	.internal_port = 22,
	.external_port = 2222,
	.lifetime = 7200,
};

static struct pcp_request of_kind(enum pcp_kind kind)
{
	struct pcp_request request = map;

	request.kind = kind;
	return request;
}

static const uint8_t map_bytes[] = {2, 1, 0, 0, 0, 0, 0x1c, 0x20, V4, 10, 0, 0, 3, NONCE, 6, 0, 0,
	0, 0, 22, 0x08, 0xae, V4, 0, 0, 0, 0};
static const uint8_t granted[] = {2, 0x81, 0, 0, 0, 0, 0x0e, 0x10, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, NONCE, 6, 0, 0, 0, 0, 22, 0x04, 0x00, V4, 192, 0, 2, 66};
static const uint8_t pmp_address[] = {0, 128, 0, 0, 0, 0, 0, 5, 192, 0, 2, 66};
static const uint8_t pmp_granted[] = {0, 130, 0, 0, 0, 0, 0, 5, 0, 22, 0x04, 0, 0, 0, 0x0e, 0x10};
static const uint8_t pmp_refuses_version[] = {0, 0x81, 0, 1, 0, 0, 0, 5};

static void is_written(
	const struct pcp_request *request, const uint8_t *want, size_t size, const char *what)
{
	uint8_t bytes[PCP_REQUEST_MAX];

	is_uint(pcp_write(request, bytes), size, "%s: its size", what);
	ok(memcmp(bytes, want, size) == 0, "%s: its bytes", what);
}

static void test_requests(void)
{
	static const uint8_t address[] = {0, 0};
	static const uint8_t tcp[] = {0, 2, 0, 0, 0, 22, 0x08, 0xae, 0, 0, 0x1c, 0x20};
	static const uint8_t udp_back[] = {0, 1, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0};
	uint8_t want[PCP_REQUEST_MAX];
	struct pcp_request request = map;

	is_written(&request, map_bytes, sizeof(map_bytes), "MAP");
	request.lifetime = 0;
	memcpy(want, map_bytes, sizeof(want));
	want[6] = want[7] = want[42] = want[43] = 0;
	is_written(&request, want, sizeof(want), "MAP that takes back");
	memcpy(want, map_bytes, sizeof(want));
	memset(want + 8, 0, 16);
	want[8] = 0x20;
	memset(want + 44, 0, 16); /* ::, as what is wished for is of the family */
	request = map;
	request.client = (struct addr){.family = ADDR_IPV6, .ip = {0x20}};
	is_written(&request, want, sizeof(want), "MAP of IPv6");
	request = of_kind(PCP_ANNOUNCE);
	memcpy(want, map_bytes, 24);
	want[1] = want[6] = want[7] = 0;
	is_written(&request, want, 24, "ANNOUNCE");
	request = of_kind(PCP_NAT_PMP_ADDRESS);
	is_written(&request, address, sizeof(address), "NAT-PMP address");
	request = of_kind(PCP_NAT_PMP_MAP);
	is_written(&request, tcp, sizeof(tcp), "NAT-PMP map");
	request.protocol = MAPPING_UDP;
	request.lifetime = 0;
	is_written(&request, udp_back, sizeof(udp_back), "NAT-PMP that takes a UDP port back");
}

static void is_read(enum pcp_kind kind, const uint8_t *data, size_t size, enum pcp_reading want,
	const char *what)
{
	const struct pcp_request request = of_kind(kind);
	struct pcp_answer answer;

	is_int(pcp_read(&request, data, size, &answer), want, "%s", what);
}

static void test_answers(void)
{
	struct pcp_request request = map;
	struct pcp_answer answer;
	char text[ADDR_TEXT_SIZE];
	uint8_t bytes[PCP_ANSWER_MAX + 4] = {0};

	is_int(pcp_read(&request, granted, sizeof(granted), &answer), PCP_READ_ANSWER, "a grant");
	is_str(addr_format(&answer.external, text), "192.0.2.66:1024", "of another port");
	is_uint(answer.lifetime, 3600, "for another time");
	is_uint(answer.epoch, 99, "and an epoch");
	request = of_kind(PCP_NAT_PMP_ADDRESS);
	is_int(pcp_read(&request, pmp_address, sizeof(pmp_address), &answer), PCP_READ_ANSWER,
		"NAT-PMP address");
	is_str(addr_format_ip(&answer.external, text), "192.0.2.66", "the one");
	request = of_kind(PCP_NAT_PMP_MAP);
	is_int(pcp_read(&request, pmp_granted, sizeof(pmp_granted), &answer), PCP_READ_ANSWER,
		"NAT-PMP grant");
	is_uint(answer.external.port, 1024, "its port");
	is_uint(answer.lifetime, 3600, "its lifetime");
	is_uint(answer.epoch, 5, "its epoch");
	memcpy(bytes, granted, sizeof(granted));
	is_read(PCP_MAP, bytes, PCP_ANSWER_MAX, PCP_READ_ANSWER, "options may follow");
	is_read(PCP_MAP, bytes, PCP_ANSWER_MAX + 4, PCP_READ_NOTHING, "but only so many");
	is_read(PCP_MAP, bytes, sizeof(granted) + 2, PCP_READ_NOTHING, "in fours");
}

/* One byte of a good answer is another. */
static void test_changed(void)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *what;
	} rows[] = {
		{0, 1, "another version"},
		{0, 3, "a newer version"},
		{1, 0x01, "a request"},
		{1, 0x82, "another opcode"},
		{24, 0, "another nonce"},
		{35, 0, "another nonce, at its end"},
		{36, 17, "another protocol"},
		{41, 23, "another internal port"},
		{42, 0, "port 0"},
	};
	uint8_t bytes[sizeof(granted)];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memcpy(bytes, granted, sizeof(bytes));
		bytes[rows[i].at] = rows[i].value;
		is_read(PCP_MAP, bytes, sizeof(bytes), PCP_READ_NOTHING, rows[i].what);
	}
	memcpy(bytes, granted, sizeof(bytes));
	memset(bytes + 4, 0, 4);
	is_read(PCP_MAP, bytes, sizeof(bytes), PCP_READ_NOTHING, "no lifetime");
	memcpy(bytes, pmp_granted, sizeof(pmp_granted));
	bytes[1] = 129;
	is_read(PCP_NAT_PMP_MAP, bytes, 16, PCP_READ_NOTHING, "NAT-PMP: UDP for TCP");
	bytes[1] = 130;
	bytes[9] = 21;
	is_read(PCP_NAT_PMP_MAP, bytes, 16, PCP_READ_NOTHING, "NAT-PMP: another internal port");
	bytes[9] = 22;
	bytes[10] = 0;
	is_read(PCP_NAT_PMP_MAP, bytes, 16, PCP_READ_NOTHING, "NAT-PMP: port 0");
	bytes[2] = 1;
	is_read(PCP_NAT_PMP_MAP, bytes, 16, PCP_READ_ANSWER, "NAT-PMP: a result of two bytes");
	for (size_t size = 0; size < sizeof(granted); size++)
		is_read(PCP_MAP, granted, size, PCP_READ_NOTHING, "a part");
	for (size_t size = 0; size < sizeof(pmp_granted); size++)
		is_read(PCP_NAT_PMP_MAP, pmp_granted, size, PCP_READ_NOTHING, "a part");
	is_read(PCP_NAT_PMP_ADDRESS, pmp_granted, sizeof(pmp_granted), PCP_READ_NOTHING,
		"a map is no address");
	is_read(PCP_NAT_PMP_ADDRESS, pmp_address, 11, PCP_READ_NOTHING, "a part");
}

static void test_errors(void)
{
	uint8_t bytes[sizeof(granted)];
	struct pcp_request request = map;
	struct pcp_answer answer;

	memcpy(bytes, granted, sizeof(bytes));
	bytes[3] = PCP_RESULT_NOT_AUTHORIZED;
	memset(bytes + 42, 0, 2);
	is_int(pcp_read(&request, bytes, sizeof(bytes), &answer), PCP_READ_ANSWER, "a refusal");
	is_str(pcp_result_name(PCP_MAP, answer.result), "NOT_AUTHORIZED", "as it is named");
	is_read(PCP_MAP, bytes, 24, PCP_READ_NOTHING, "without the nonce it is nobody's");
	bytes[24] ^= 1;
	is_read(PCP_MAP, bytes, sizeof(bytes), PCP_READ_NOTHING, "and with another");
	bytes[3] = 1;
	is_read(PCP_MAP, bytes, 24, PCP_READ_ANSWER, "a header: not this version of PCP");
	is_read(PCP_ANNOUNCE, bytes, 24, PCP_READ_NOTHING, "not for another opcode");
	bytes[1] = 0x80;
	is_read(PCP_ANNOUNCE, bytes, 24, PCP_READ_ANSWER, "nothing but a header is an ANNOUNCE");
	is_read(PCP_MAP, pmp_refuses_version, 8, PCP_READ_OTHER_VERSION, "NAT-PMP alone");
	is_read(PCP_MAP, pmp_refuses_version, 7, PCP_READ_NOTHING, "a part of that");
	is_read(PCP_MAP, pmp_granted, 16, PCP_READ_NOTHING, "NAT-PMP that grants");
	is_read(PCP_NAT_PMP_MAP, bytes, 24, PCP_READ_OTHER_VERSION, "PCP alone");
	is_read(PCP_NAT_PMP_MAP, bytes, 23, PCP_READ_NOTHING, "a part of that, too");
	bytes[3] = PCP_RESULT_NOT_AUTHORIZED;
	is_read(PCP_NAT_PMP_MAP, bytes, 24, PCP_READ_NOTHING, "a refusal of PCP is not NAT-PMP's");
	is_read(PCP_NAT_PMP_ADDRESS, granted, sizeof(granted), PCP_READ_NOTHING, "PCP that grants");
	memcpy(bytes, pmp_refuses_version, 8);
	bytes[1] = 130;
	bytes[3] = PCP_RESULT_NETWORK;
	is_read(PCP_NAT_PMP_MAP, bytes, 8, PCP_READ_ANSWER, "NAT-PMP: an error without ports");
	is_read(PCP_NAT_PMP_MAP, bytes, 12, PCP_READ_NOTHING, "or with all");
	is_str(pcp_result_name(PCP_NAT_PMP_MAP, 3), "NETWORK_FAILURE", "NAT-PMP has own numbers");
	is_str(pcp_result_name(PCP_MAP, 3), "MALFORMED_REQUEST", "which are others in PCP");
	is_str(pcp_result_name(PCP_MAP, 13), "EXCESSIVE_REMOTE_PEERS", "the last of PCP");
	is_str(pcp_result_name(PCP_MAP, 14), "an unknown result", "and none further");
	is_str(pcp_result_name(PCP_NAT_PMP_MAP, 6), "an unknown result", "nor of NAT-PMP");
	is_str(pcp_protocol_name(PCP_ANNOUNCE), "PCP", "PCP");
	is_str(pcp_protocol_name(PCP_NAT_PMP_ADDRESS), "NAT-PMP", "NAT-PMP");
}

/* Taking back: nothing is granted, whatever is told. */
static void test_taken_back(void)
{
	struct pcp_request request = map;
	uint8_t bytes[sizeof(granted)];
	struct pcp_answer answer;

	request.lifetime = 0;
	memcpy(bytes, granted, sizeof(bytes));
	memset(bytes + 4, 0, 4);
	memset(bytes + 42, 0, 2);
	is_int(pcp_read(&request, bytes, sizeof(bytes), &answer), PCP_READ_ANSWER, "taken back");
	is_uint(answer.result, PCP_RESULT_DONE, "so it is");
}

static void test_announcement(void)
{
	uint8_t bytes[24] = {2, 0x80};

	ok(pcp_is_announcement(bytes, 24), "ANNOUNCE");
	ok(pcp_is_announcement(pmp_address, sizeof(pmp_address)), "NAT-PMP announces its address");
	ok(!pcp_is_announcement(granted, sizeof(granted)), "a grant is none");
	ok(!pcp_is_announcement(bytes, 20), "nor is a part");
	ok(!pcp_is_announcement(bytes, 0), "or nothing");
	bytes[3] = 1;
	ok(!pcp_is_announcement(bytes, 24), "nor an error");
	bytes[3] = 0;
	bytes[1] = 0;
	ok(!pcp_is_announcement(bytes, 24), "nor a question");
}

static void test_epoch(void)
{
	static const struct {
		uint32_t server;
		uint64_t now;
		bool holds;
		const char *what;
	} rows[] = {
		{1000, 50, true, "the first says nothing"},
		{1100, 150, true, "as time goes"},
		{1099, 150, true, "a second back"},
		{1097, 150, false, "two seconds back"},
		{1197, 250, true, "from there on"},
		{0, 260, false, "a restart"},
		{108, 361, true, "within a sixteenth and 2 s"},
		{110, 379, false, "behind"},
		{206, 460, false, "ahead"},
		{UINT32_MAX, 461, false, "far ahead"},
	};
	struct pcp_epoch epoch = {.known = false};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_int(pcp_epoch_take(&epoch, rows[i].server, rows[i].now), rows[i].holds,
			"epoch: %s", rows[i].what);
}

int main(void)
{
	test_requests();
	test_answers();
	test_changed();
	test_errors();
	test_taken_back();
	test_announcement();
	test_epoch();
	return done_testing();
}
