/*
 * nft_message.h - messages to netfilter about one flow: nf_tables and ctnetlink.
 *
 * os/nft_snat.h sends them. Numbers and layouts: linux/netfilter/nf_tables.h and
 * linux/netfilter/nfnetlink_conntrack.h. Every message begins with struct nfgenmsg behind the
 * netlink header: family, version 0, and a big-endian resource id.
 */
#ifndef NATPUNCH_PROTO_NFT_MESSAGE_H
#define NATPUNCH_PROTO_NFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/proto/netlink_message.h"

/* Packets of one direction; both addresses are of the same family. */
struct nft_message_flow {
	enum mapping_protocol protocol;
	struct addr source;
	struct addr destination;
};

/* An entry of connection tracking. Without NAT, reply is original turned round. */
struct nft_message_entry {
	struct nft_message_flow original; /* as its first packet came */
	struct nft_message_flow reply;    /* as answers come */
	uint32_t id;
	bool answered; /* a packet of `reply` came; also true where that is not told */
};

/* The sequence numbers of the messages, by which an acknowledgement tells which one it is for. */
enum nft_message_sequence {
	NFT_MESSAGE_BATCH_BEGIN = 1,
	NFT_MESSAGE_TABLE,
	NFT_MESSAGE_CHAIN,
	NFT_MESSAGE_RULE,
	NFT_MESSAGE_BATCH_END,
	NFT_MESSAGE_CONNTRACK,
};

#define NFT_MESSAGE_BATCH_SIZE   2048 /* enough for nft_message_write_rewrite() */
#define NFT_MESSAGE_REQUEST_SIZE 256  /* enough for the others */

/*
 * A batch, applied as a whole or not at all: a table that this netlink socket owns
 * (NFT_TABLE_F_OWNER, Linux 5.12: it goes with the socket), a NAT chain in it at the postrouting
 * hook, and one rule that gives the packets of `flow` the source port `port`. `table` is at most
 * 200 bytes. The table, the chain and the rule are each acknowledged, or the first that fails is.
 *
 * The chain's priority is one before srcnat's: of all NAT rules that match, the first decides, and
 * a masquerade rule of this machine's own must not be it.
 *
 * Each writer returns the size, or 0 when the capacity is too small.
 */
size_t nft_message_write_rewrite(void *out, size_t capacity, const char *table,
	const struct nft_message_flow *flow, uint16_t port);

/* Asks for the entry that `flow` belongs to, in whichever direction. Answered, or ENOENT. */
size_t nft_message_write_find(void *out, size_t capacity, const struct nft_message_flow *flow);

/*
 * Deletes this entry and no other, not even one that has taken its place: `id` must be its. With
 * an id of 0: the one that `original` belongs to, in whichever direction.
 */
size_t nft_message_write_delete(void *out, size_t capacity, const struct nft_message_entry *entry);

/*
 * Reads an answer to nft_message_write_find(). Returns false when it is another message, or one
 * that lacks an address, a port or the id, or is of a protocol other than TCP and UDP.
 */
bool nft_message_read_entry(const struct netlink_message *message, struct nft_message_entry *out)
	__attribute__((warn_unused_result));

/* The same flow? And the flow turned round. */
bool nft_message_flow_equal(const struct nft_message_flow *a, const struct nft_message_flow *b);
struct nft_message_flow nft_message_flow_reverse(const struct nft_message_flow *flow);

#endif
