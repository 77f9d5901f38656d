/*
 * raw_handshake.h - a TCP handshake of three segments that no kernel takes part in.
 *
 *     home :22                      NAT                        reflector :3478
 *     SYN      nonce            ->  entry made             ->
 *                               <-  answered               <-  SYN-ACK  nonce xor address
 *     ACK      nonce            ->  entry established      ->
 *
 * Each segment bears a TCP MD5 signature option (kind 19, RFC 2385) that signs nothing. A kernel
 * drops a segment with that option silently when the socket has no key for it, whether the port is
 * listened on, connected or closed; raw sockets get a copy. So both ends shake hands from ports
 * that other programs listen on; their sockets are not touched, and only the NATs between keep
 * state: an established connection. The 16 bytes of the option carry the address, as without the
 * option there is no handshake.
 *
 * SYN, SYN-ACK. The options, 32 bytes in either:
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |    kind 2     |   length 4    |     maximum segment size      |
 *  |    kind 19    |   length 18   |                               |
 *  |                                                               |
 *  |                           16 bytes                            |
 *  |                                                               |
 *  |                               |    kind 8     |   length 10   |
 *  |                             TSval                             |
 *  |                             TSecr                             |
 *
 * The ACK has no maximum segment size.
 *
 *              SYN                      SYN-ACK                      ACK
 *  sequence    I: 32 random bits        a keyed hash                 I + 1
 *  acknowl.    0                        I + 1                        the SYN-ACK's sequence + 1
 *  16 bytes    the nonce                the nonce xor the address    the nonce
 *  TSval       T: 32 random bits        the nonce xor the mask       T
 *  TSecr       0                        T                            the SYN-ACK's TSval
 *
 * A handshake that is given up ends with a RST (sequence I + 1, options as in the ACK). It is for
 * the NATs: a NAT that remembers a SYN (120 s in Linux) accepts another one on the same four-tuple
 * only if its sequence number is higher (RFC 9293 3.4.3), which between two handshakes is an even
 * chance.
 *
 * The nonce is 12 random bytes and 4 that mark a request of natpunch's: their CRC-32 (as in
 * FINGERPRINT, RFC 8489 14.7) xor 0x6e617470. A SYN without this mark, as of a BGP router that
 * really signs, is never answered.
 *
 * The address, before its xor with the nonce. IPv6:
 *
 *  |                         the 16 bytes                          |
 *
 * IPv4, which is what remains of an IPv4-mapped address (RFC 4291 2.5.5.2) when the port is put
 * where it has zeros; no IPv6 address looks like that, as none begins with 64 zero bits that a
 * packet could come from over a NAT:
 *
 *  |                               0                               |
 *  |                               0                               |
 *  |             port              |            0xffff             |
 *  |                         IPv4 address                          |
 *
 * The mask, before its xor with bytes 0 to 3 of the nonce; check is the low half of the CRC-32 over
 * the nonce, the 16 bytes of the address as above, and the port:
 *
 *  |             port              |             check             |
 *
 * With IPv4 the mask adds nothing and is ignored: some firewalls change or remove timestamps, and
 * the address is proved without them. With IPv6, which has no room for
 * the port elsewhere, both timestamps are needed.
 *
 * Threats.
 *  - An attacker off the path forges an answer: he must guess I (32 bits), and the nonce to 80 bits
 *    with IPv4, T and the check (48 bits) with IPv6. On the path he can do what a NAT can do: there
 *    is no defence here, as in STUN without a key.
 *  - An attacker forges the source of a SYN, so that the answer hits another host: that gets one
 *    segment, not larger than the SYN and never repeated, from a server that remembers nothing.
 *    There is no data, no retransmission and no table to fill, except that of connection tracking:
 *    on the reflector's own host, or before it. There an entry for a SYN is short-lived and the
 *    first to go; one that an ACK has made established stays for days. So the SYN-ACK's sequence
 *    number is a SYN cookie (RFC 4987 3.6), SipHash of both addresses and ports, I and the nonce: a
 *    client that does not get the SYN-ACK cannot send the ACK, and the reflector recognises a true
 *    ACK, and has its own host forget the entry.
 *  - Middleboxes that exchange sequence numbers (on both ways) do no harm: nothing is computed from
 *    I, and a repeated SYN gets the very same answer again, as from a kernel.
 */
#ifndef NATPUNCH_PROTO_RAW_HANDSHAKE_H
#define NATPUNCH_PROTO_RAW_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/siphash.h"
#include "natpunch/proto/segment.h"

#define RAW_HANDSHAKE_RANDOM_SIZE 20

/* Shortest TCP header of a SYN that can be one of ours; an ordinary SYN of Linux has 40 bytes. */
#define RAW_HANDSHAKE_HEADER_MIN 44
#define RAW_HANDSHAKE_ACK_OPTION 0x1312 /* the first two bytes of the ACK's options */

/* The identity of a handshake, from its first SYN on. */
struct raw_handshake {
	struct addr local; /* with ports */
	struct addr remote;
	uint32_t sequence;  /* I */
	uint32_t timestamp; /* T */
	uint8_t nonce[SEGMENT_MD5_SIZE];
};

enum raw_handshake_outcome {
	RAW_HANDSHAKE_MAPPED,
	RAW_HANDSHAKE_UNRELATED, /* not an answer to this SYN */
	RAW_HANDSHAKE_STRIPPED,  /* an answer to it by one who did not see the option, or without it
				  */
	RAW_HANDSHAKE_RESET,     /* a RST for it: also by one who did not see the option */
	RAW_HANDSHAKE_MALFORMED, /* an answer to it whose address cannot be true */
};

/* Begins one. The addresses are with their ports, and of one family. */
void raw_handshake_start(struct raw_handshake *handshake, const struct addr *local,
	const struct addr *remote, const uint8_t random[RAW_HANDSHAKE_RANDOM_SIZE]);

/* The home's segments. The ACK is for a SYN-ACK that raw_handshake_judge() called MAPPED. */
void raw_handshake_make_syn(const struct raw_handshake *handshake, struct segment *out);
void raw_handshake_make_ack(
	const struct raw_handshake *handshake, const struct segment *syn_ack, struct segment *out);

/* A RST for a SYN that was not answered; see above. */
void raw_handshake_make_reset(const struct raw_handshake *handshake, struct segment *out);

/*
 * Judges a segment that came to the home. With MAPPED, *mapped is the address, IPv4 over an IPv6
 * path too (NAT64, RFC 6146); port 0, an unspecified or a multicast address is MALFORMED.
 */
enum raw_handshake_outcome raw_handshake_judge(const struct raw_handshake *handshake,
	const struct segment *received, struct addr *mapped) __attribute__((warn_unused_result));

/*
 * The reflector's side, stateless: makes the answer to a SYN. Returns false for what gets none:
 * whatever is not a lone SYN with a marked nonce, without data, and with IPv6 a timestamp. The
 * answer has no option that the SYN had not, so it is never larger. `key` is random and secret, and
 * the same for as long as the reflector runs: a SYN that is repeated gets the same answer.
 */
bool raw_handshake_answer(const struct segment *syn, const uint8_t key[SIPHASH_KEY_SIZE],
	struct segment *out) __attribute__((warn_unused_result));

/*
 * Is this the ACK of a client that got the answer that was made with this key? Then its source is
 * true.
 */
bool raw_handshake_completes(const struct segment *ack, const uint8_t key[SIPHASH_KEY_SIZE]);

#endif
