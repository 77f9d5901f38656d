/*
 * nft_snat.h - translates the source port of one flow by this machine's own netfilter, and reads
 * and deletes entries of its connection tracking.
 *
 * All calls need CAP_NET_ADMIN in this network namespace. The kernel answers within the call that
 * asks, so none of them waits.
 */
#ifndef NATPUNCH_OS_NFT_SNAT_H
#define NATPUNCH_OS_NFT_SNAT_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/error.h"
#include "natpunch/proto/nft_message.h"
#include "natpunch/os/sandbox.h"

extern const struct sandbox_call translation_calls[]; /* beside those of sockets */
extern const struct sandbox_call nft_snat_calls[];    /* with a socket that is open: all it takes */

/*
 * A netlink socket for all else here, and the life of the rule: it is the caller's to close.
 * Returns it, or -1 and *error.
 */
int nft_snat_open(struct error *error);

/*
 * Until `fd` is closed, by whatever means, all packets of a new flow that matches `flow` leave with
 * the source port `port`; answers to that port come back to flow's own. Once for each socket.
 * Returns 0, or -1 and *error, which says when the kernel has no nf_tables, no source NAT, or no
 * tables with an owner (before Linux 5.12; a rule could then outlive us and is not made), or when
 * CAP_NET_ADMIN is missing.
 */
int nft_snat_add(int fd, const struct nft_message_flow *flow, uint16_t port, struct error *error);

/*
 * The entry of connection tracking that packets of `flow` belong to, in whichever direction.
 * Returns 1, or 0 when there is none, or -1 when it cannot be told (not permitted, or a kernel
 * without ctnetlink).
 */
int nft_snat_find(int fd, const struct nft_message_flow *flow, struct nft_message_entry *out);

/* Deletes this entry. Returns 0, also when it is gone already, or -1. */
int nft_snat_forget(int fd, const struct nft_message_entry *entry);

#endif
