/*
 * Threat: any host of the home network can forge the router's datagrams. If it does not see ours,
 * it has to guess the nonce (96 bits), in NAT-PMP only our source port. An answer may also be cut,
 * for another request, or of the other protocol. So an answer counts only if it repeats every field
 * that the request determines, and its content is a claim that others must prove.
 *
 * "Unsupported version" comes from software that may not know the rest of the message: only its
 * header counts.
 */
#include "natpunch/proto/pcp.h"

#include <string.h>

#include "natpunch/base/wire.h"

#define VERSION_PCP     2
#define VERSION_NAT_PMP 0
#define RESPONSE        0x80 /* the R bit; in NAT-PMP 128 + opcode */
#define UNSUPP_VERSION  1    /* in both */

#define OPCODE_ANNOUNCE   0
#define OPCODE_MAP        1
#define OPCODE_ADDRESS    0 /* of NAT-PMP, and the other two */
#define OPCODE_MAP_UDP    1
#define OPCODE_MAP_TCP    2
#define HEADER_SIZE       24
#define MAP_SIZE          60
#define PMP_ERROR_SIZE    8
#define PMP_ADDRESS_SIZE  12
#define PMP_MAP_SIZE      16
#define OTHER_ANSWER_SIZE 4 /* as far as the result, in both */
#define EPOCH_SLACK       2 /* seconds */
#define EPOCH_DRIFT       16

static bool is_nat_pmp(enum pcp_kind kind)
{
	return kind == PCP_NAT_PMP_ADDRESS || kind == PCP_NAT_PMP_MAP;
}

static uint8_t opcode_of(const struct pcp_request *request)
{
	switch (request->kind) {
	case PCP_MAP:
		return OPCODE_MAP;
	case PCP_NAT_PMP_MAP:
		return request->protocol == MAPPING_UDP ? OPCODE_MAP_UDP : OPCODE_MAP_TCP;
	case PCP_NAT_PMP_ADDRESS:
		return OPCODE_ADDRESS;
	default:
		return OPCODE_ANNOUNCE;
	}
}

/* 128 bits; an IPv4 address as ::ffff:a.b.c.d. */
static void write_address(struct wire_writer *writer, const struct addr *addr)
{
	if (addr->family == ADDR_IPV6) {
		wire_write_bytes(writer, addr->ip, 16);
		return;
	}
	wire_write_zeros(writer, 10);
	wire_write_u16(writer, 0xffff);
	wire_write_bytes(writer, addr->ip, 4);
}

static void write_map(struct wire_writer *writer, const struct pcp_request *request)
{
	struct addr any = {.family = request->client.family};

	wire_write_bytes(writer, request->nonce, sizeof(request->nonce));
	wire_write_u8(writer, (uint8_t)request->protocol);
	wire_write_zeros(writer, 3);
	wire_write_u16(writer, request->internal_port);
	wire_write_u16(writer, request->lifetime > 0 ? request->external_port : 0);
	write_address(writer, &any);
}

size_t pcp_write(const struct pcp_request *request, uint8_t out[PCP_REQUEST_MAX])
{
	struct wire_writer writer;

	wire_writer_start(&writer, out, PCP_REQUEST_MAX);
	wire_write_u8(&writer, is_nat_pmp(request->kind) ? VERSION_NAT_PMP : VERSION_PCP);
	wire_write_u8(&writer, opcode_of(request));
	if (request->kind == PCP_NAT_PMP_ADDRESS)
		return writer.offset;
	wire_write_zeros(&writer, 2);
	if (request->kind == PCP_NAT_PMP_MAP) {
		wire_write_u16(&writer, request->internal_port);
		wire_write_u16(&writer, request->lifetime > 0 ? request->external_port : 0);
		wire_write_u32(&writer, request->lifetime);
		return writer.offset;
	}
	wire_write_u32(&writer, request->kind == PCP_MAP ? request->lifetime : 0);
	write_address(&writer, &request->client);
	if (request->kind == PCP_MAP)
		write_map(&writer, request);
	return writer.offset;
}

/* A grant: what was asked for may be another port and another time, but not none. */
static bool is_grant(const struct pcp_request *request, const struct pcp_answer *answer)
{
	return request->lifetime == 0 || (answer->external.port != 0 && answer->lifetime != 0);
}

static enum pcp_reading read_map(
	const struct pcp_request *request, struct wire_reader *reader, struct pcp_answer *out)
{
	uint8_t nonce[PCP_NONCE_SIZE], protocol;
	uint16_t internal;

	wire_read_bytes(reader, nonce, sizeof(nonce));
	wire_read_u8(reader, &protocol);
	wire_read_view(reader, 3);
	wire_read_u16(reader, &internal);
	wire_read_u16(reader, &out->external.port);
	out->external.family = ADDR_IPV6;
	if (!wire_read_bytes(reader, out->external.ip, 16))
		return PCP_READ_NOTHING;
	addr_unmap(&out->external);
	if (memcmp(nonce, request->nonce, sizeof(nonce)) != 0 || protocol != request->protocol ||
		internal != request->internal_port)
		return PCP_READ_NOTHING;
	if (out->result != PCP_RESULT_DONE || is_grant(request, out))
		return PCP_READ_ANSWER;
	return PCP_READ_NOTHING;
}

static enum pcp_reading read_pcp(
	const struct pcp_request *request, struct wire_reader *reader, struct pcp_answer *out)
{
	uint8_t result;

	if (reader->size % 4 != 0 || reader->size > PCP_ANSWER_MAX)
		return PCP_READ_NOTHING;
	wire_read_view(reader, 1);
	wire_read_u8(reader, &result);
	wire_read_u32(reader, &out->lifetime);
	wire_read_u32(reader, &out->epoch);
	if (wire_read_view(reader, 12) == NULL)
		return PCP_READ_NOTHING;
	out->result = result;
	if (request->kind == PCP_ANNOUNCE || result == UNSUPP_VERSION)
		return PCP_READ_ANSWER;
	return read_map(request, reader, out);
}

static enum pcp_reading read_nat_pmp(
	const struct pcp_request *request, struct wire_reader *reader, struct pcp_answer *out)
{
	bool map = request->kind == PCP_NAT_PMP_MAP;
	uint16_t internal;

	wire_read_u16(reader, &out->result);
	if (!wire_read_u32(reader, &out->epoch))
		return PCP_READ_NOTHING;
	if (out->result != PCP_RESULT_DONE && reader->size == PMP_ERROR_SIZE)
		return PCP_READ_ANSWER;
	if (reader->size != (map ? PMP_MAP_SIZE : PMP_ADDRESS_SIZE))
		return PCP_READ_NOTHING;
	if (!map) {
		out->external.family = ADDR_IPV4;
		wire_read_bytes(reader, out->external.ip, 4);
		return PCP_READ_ANSWER;
	}
	wire_read_u16(reader, &internal);
	wire_read_u16(reader, &out->external.port);
	wire_read_u32(reader, &out->lifetime);
	if (internal != request->internal_port)
		return PCP_READ_NOTHING;
	if (out->result != PCP_RESULT_DONE || is_grant(request, out))
		return PCP_READ_ANSWER;
	return PCP_READ_NOTHING;
}

/* Does it say, in the other protocol, that ours is not spoken here? */
static bool is_other_version(const uint8_t *data, size_t size, uint8_t own)
{
	if (size < PMP_ERROR_SIZE || data[0] == own || (data[1] & RESPONSE) == 0 ||
		data[3] != UNSUPP_VERSION)
		return false;
	if (data[0] == VERSION_NAT_PMP)
		return size == PMP_ERROR_SIZE && data[2] == 0;
	return data[0] == VERSION_PCP && size >= HEADER_SIZE;
}

enum pcp_reading pcp_read(
	const struct pcp_request *request, const void *data, size_t size, struct pcp_answer *out)
{
	bool nat_pmp = is_nat_pmp(request->kind);
	uint8_t own = nat_pmp ? VERSION_NAT_PMP : VERSION_PCP;
	struct wire_reader reader;
	uint8_t version, opcode;

	memset(out, 0, sizeof(*out));
	if (is_other_version(data, size, own))
		return PCP_READ_OTHER_VERSION;
	wire_reader_start(&reader, data, size);
	wire_read_u8(&reader, &version);
	if (!wire_read_u8(&reader, &opcode) || version != own ||
		opcode != (RESPONSE | opcode_of(request)))
		return PCP_READ_NOTHING;
	return nat_pmp ? read_nat_pmp(request, &reader, out) : read_pcp(request, &reader, out);
}

bool pcp_is_announcement(const void *data, size_t size)
{
	const struct pcp_request pcp = {.kind = PCP_ANNOUNCE};
	const struct pcp_request nat_pmp = {.kind = PCP_NAT_PMP_ADDRESS};
	struct pcp_answer answer;

	return (pcp_read(&pcp, data, size, &answer) == PCP_READ_ANSWER ||
		       pcp_read(&nat_pmp, data, size, &answer) == PCP_READ_ANSWER) &&
	       answer.result == PCP_RESULT_DONE;
}

const char *pcp_protocol_name(enum pcp_kind kind)
{
	return is_nat_pmp(kind) ? "NAT-PMP" : "PCP";
}

const char *pcp_result_name(enum pcp_kind kind, uint16_t result)
{
	/* RFC 6887 section 7.4, RFC 6886 section 3.5. */
	static const char *const pcp[] = {"SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED",
		"MALFORMED_REQUEST", "UNSUPP_OPCODE", "UNSUPP_OPTION", "MALFORMED_OPTION",
		"NETWORK_FAILURE", "NO_RESOURCES", "UNSUPP_PROTOCOL", "USER_EX_QUOTA",
		"CANNOT_PROVIDE_EXTERNAL", "ADDRESS_MISMATCH", "EXCESSIVE_REMOTE_PEERS"};
	static const char *const nat_pmp[] = {"SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED",
		"NETWORK_FAILURE", "OUT_OF_RESOURCES", "UNSUPP_OPCODE"};

	if (is_nat_pmp(kind) && result < sizeof(nat_pmp) / sizeof(nat_pmp[0]))
		return nat_pmp[result];
	if (!is_nat_pmp(kind) && result < sizeof(pcp) / sizeof(pcp[0]))
		return pcp[result];
	return "an unknown result";
}

bool pcp_epoch_take(struct pcp_epoch *epoch, uint32_t server, uint64_t now)
{
	const struct pcp_epoch before = *epoch;
	uint64_t ours, theirs;

	*epoch = (struct pcp_epoch){.known = true, .server = server, .client = now};
	if (!before.known)
		return true;
	if ((uint64_t)server + 1 < before.server)
		return false;
	/* A second back may be two answers that overtook each other. */
	theirs = server > before.server ? server - before.server : 0;
	ours = now > before.client ? now - before.client : 0;
	return ours + EPOCH_SLACK >= theirs - theirs / EPOCH_DRIFT &&
	       theirs + EPOCH_SLACK >= ours - ours / EPOCH_DRIFT;
}
