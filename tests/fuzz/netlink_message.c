/*
 * Netlink: any bytes as what the kernel sent. They are taken apart as deep as attributes go; an
 * entry of connection tracking that is believed must name two whole flows, and deleting it must
 * name the same ones.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/nft_message.h"
#include "natpunch/proto/netlink_message.h"

#define DEPTH_MOST 8

static bool inside(const struct wire_reader *inner, const struct wire_reader *outer)
{
	return inner->data >= outer->data && inner->size <= outer->size &&
	       (size_t)(inner->data - outer->data) <= outer->size - inner->size;
}

static void take_apart(struct wire_reader reader, unsigned depth)
{
	struct netlink_message_attribute attribute;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;

	while (netlink_message_next_attribute(&reader, &attribute)) {
		fuzz_check(inside(&attribute.value, &reader));
		fuzz_check(netlink_message_get_u8(&attribute, &u8) == (attribute.value.size == 1));
		fuzz_check(
			netlink_message_get_be16(&attribute, &u16) == (attribute.value.size == 2));
		fuzz_check(
			netlink_message_get_be32(&attribute, &u32) == (attribute.value.size == 4));
		if (depth < DEPTH_MOST)
			take_apart(attribute.value, depth + 1);
	}
}

static void check_flow(const struct nft_message_flow *flow)
{
	fuzz_check(flow->protocol == MAPPING_TCP || flow->protocol == MAPPING_UDP);
	fuzz_check(flow->source.family == ADDR_IPV4 || flow->source.family == ADDR_IPV6);
	fuzz_check(flow->source.family == flow->destination.family);
}

/* The request to delete the entry, made an answer that holds it twice, is that entry. */
static void check_delete(const struct nft_message_entry *entry)
{
	uint8_t bytes[NFT_MESSAGE_REQUEST_SIZE * 2];
	size_t size = nft_message_write_delete(bytes, NFT_MESSAGE_REQUEST_SIZE, entry);
	size_t tuple = size - NETLINK_MESSAGE_HEADER_SIZE - 4 - 8;
	uint32_t whole = (uint32_t)(size + tuple);
	uint16_t type = 0x100, reply = 0x8002;
	struct netlink_message message;
	struct nft_message_entry again;
	struct wire_reader reader;

	fuzz_check(size > 0);
	memcpy(bytes + size, bytes + NETLINK_MESSAGE_HEADER_SIZE + 4, tuple);
	memcpy(bytes + size + 2, &reply, sizeof(reply));
	memcpy(bytes, &whole, sizeof(whole));
	memcpy(bytes + 4, &type, sizeof(type));
	wire_reader_start(&reader, bytes, whole);
	fuzz_check(netlink_message_next(&reader, &message));
	if (entry->id == 0) /* the request leaves it out, and an entry has one */
		return;
	fuzz_check(nft_message_read_entry(&message, &again));
	fuzz_check(
		nft_message_flow_equal(&again.original, &entry->original) && again.id == entry->id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netlink_message message;
	struct nft_message_entry entry;
	struct wire_reader reader;
	int code;

	wire_reader_start(&reader, data, size);
	while (netlink_message_next(&reader, &message)) {
		fuzz_check(inside(&message.body, &reader));
		take_apart(message.body, 0);
		if (netlink_message_read_error(&message, &code))
			fuzz_check(code >= 0 && code < 4096);
		if (!nft_message_read_entry(&message, &entry))
			continue;
		check_flow(&entry.original);
		check_flow(&entry.reply);
		check_delete(&entry);
	}
	return 0;
}
