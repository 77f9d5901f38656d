/*
 * packet.h - raw sockets: TCP segments and UDP datagrams from ports that others hold (raw(7)).
 *
 * Of what is sent, the kernel writes the IP header and this program all behind it. Of what is
 * received, an IPv4 socket delivers the IP header too, an IPv6 one does not. A raw socket gets a
 * copy of each packet that comes to this machine and that its filter lets through, whatever the
 * kernel does with the packet besides. CAP_NET_RAW opens one.
 */
#ifndef NATPUNCH_OS_PACKET_H
#define NATPUNCH_OS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/mapping.h"
#include "natpunch/os/sandbox.h"
#include "natpunch/proto/segment.h"

extern const struct sandbox_call packet_calls[]; /* beside those of sockets */

#define PACKET_PORT_MAX 64

/*
 * Which packets the kernel delivers: a coarse filter, so that other packets do not wake this
 * process. Check them again: some may come between the opening and the filter.
 */
struct packet_filter {
	uint16_t source; /* port, or 0 for any */
	uint16_t destinations[PACKET_PORT_MAX];
	size_t destination_count;
	uint8_t syn_header_min; /* if not 0: TCP SYNs (no ACK, RST, FIN) of so many header bytes */
	uint16_t ack_option;    /* with it, if not 0: and ACKs whose options begin with these two */
};

/* Returns a non-blocking raw socket with its filter, or -1 and errno (EPERM: no CAP_NET_RAW). */
int packet_open(enum addr_family family, enum mapping_protocol protocol,
	const struct packet_filter *filter);

/*
 * Receives one packet. `local` is the address of the socket, which stands in for the one that an
 * IPv6 socket does not tell. Returns 1, 0 for one that is unreadable, or -1 and errno. The payload
 * points into `buffer`.
 */
int packet_receive(int fd, const struct addr *local, void *buffer, size_t capacity,
	struct segment_packet *out);

/*
 * Does this kernel drop segments with an MD5 signature for which a socket has no key (RFC 2385)?
 * One without CONFIG_TCP_MD5SIG passes over the option, and answers.
 */
bool packet_kernel_knows_md5(void);

#endif
