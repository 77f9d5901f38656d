/*
 * name_messages.h - questions about a name: STUN methods of natpunch's own, as bytes.
 *
 *   method      number  request (home or initiator)        success response (reflector)
 *   REGISTER    0x0E1   USERNAME, NONCE, REGISTRATION      RECORD: what stands there now
 *                       [, HOME] [, HOST, none to four]    [, CONNECTION] [, RIVAL]
 *                       [, CONNECTION] [, RANDOM-PORTS]
 *                       [, PROVED-PORT]
 *   LOOKUP      0x0E2   USERNAME, NONCE                    RECORD, none to four
 *   CONNECT     0x0E3   the same, from the port that       the same, and home is sent an INVITE
 *                       will speak with home: over TCP     (invitation.h), as its mapping by the
 *                       or UDP                             same protocol is held
 *                       [, PREDICTION]                       [, HOST, none to four]
 *                                                          [, OTHER-ADDRESS] [, OFFER]
 *                                                          [, RANDOM-PORTS]
 *   RELAY       0x0E6   the same, over the connection      nothing; when home has come
 *                       that had the offer                 (relay_messages.h)
 *
 * The numbers are from the unassigned part of IANA's registry, the attributes from its
 * comprehension-optional part, so that every other server and client answers or ignores them as
 * RFC 8489 says.
 *
 * USERNAME is the name. All requests but the first, and all success responses, end in
 * MESSAGE-INTEGRITY-SHA256 and FINGERPRINT; the HMAC's key are the name's 32 bytes as they are
 * (RFC 8489 9.1.1 with a password of 32 octets). A request that fails a
 * check gets an error response without proof:
 *
 *   401  no MESSAGE-INTEGRITY-SHA256, one of another key, or an unknown name. With NONCE. So the
 *        first request, which has no proof, gets the nonce for the second.
 *   438  the NONCE is too old, was issued to another address, or was used. With a new NONCE.
 *   420  an unknown attribute that must be understood (RFC 8489 6.3.1).
 *   400  anything else.
 *
 * and a proven RELAY can get
 *
 *   403  the reflector does not relay
 *   447  home is not connected, or did not come in time (RFC 6062 6.3)
 *   486  the name has as many relayed connections as it may (RFC 8656 19)
 *   508  the reflector has as many relayed connections as it can, or no descriptor left (RFC 8656
 *        19)
 *
 * There is a RECORD for each family and protocol in which the name was seen: TCP by IPv4, by IPv6,
 * UDP by IPv4, by IPv6, in that order.
 *
 * Over UDP no answer is larger than its request: the requests are padded to
 * NAME_MESSAGE_REQUEST_MIN, which all records fit into. An answer to a smaller request has the
 * first records, as many as fit; an answer that is too large even without any is not sent.
 *
 * NATPUNCH-REGISTRATION (0xC6E1), 8 bytes: "this is where I can be reached"
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |   protocol    |       0       |          local port           |
 *  |          mapped port          |            seconds            |
 *
 *   protocol     6 or 17, TCP or UDP
 *   mapped port  0: the source of this very request is the mapping, and `protocol` what it came
 *                over. Else the mapping is this port at the source's address: for a mapping that
 *                was found out without a connection. No field can name another address.
 *   seconds      how soon it will be said again; 0: no promise
 *
 * NATPUNCH-RECORD (0xC6E2), 40 bytes: what is known of a name, readable with its key alone
 *
 *  |                         salt (64 bits)                        |
 *  |              32 bytes of what follows, xor a pad              |
 *
 *  |    family     |   protocol    |     flags     |       0       |
 *  |             port              |          local port           |
 *  |                        age in seconds                         |
 *  |            seconds            |               0               |
 *  |                       address (128 bits)                      |
 *
 *   family  1: IPv4, in the address' first 32 bits, the rest zero; 2: IPv6
 *   flags   1: held now: home's connection to the reflector stands
 *   age     since home was last heard of there
 *   pad     that of stun_auth.h with the label "natpunch record 1"
 *
 * NATPUNCH-HOME (0xC6EC), 8 bytes: which home it is that registers. Random, and the same for as
 * long as that process runs.
 *
 * NATPUNCH-RIVAL (0xC6ED), 40 bytes as a RECORD: another home, which runs as well, was registered
 * in this place. So two homes have the name; the reflector tells each when it registers.
 *
 * NATPUNCH-HOST (0xC6EE), 40 bytes as a RECORD whose flags, age and seconds are zero: an address of
 * home itself, with the port that its server has there (a host candidate, RFC 8445 5.1.1.1). Home
 * says it in each REGISTER. The reflector tells it in the response to a CONNECT that came by TCP
 * from where home's TCP mapping in that family is: from the same IPv4 address, or out of the same
 * IPv6 /64. There both are behind one NAT, or in one network. Elsewhere the address could be
 * another host's, and tells about home's network, so it is not sent. The reader ignores loopback,
 * link-local and multicast addresses.
 *
 * PREDICTION (port_prediction.h) is in a second CONNECT: no connection was established after the
 * first, so both sides tell each other which port they will come from next. They find it by
 * connections to OTHER-ADDRESS (RFC 5780 7.4), which show what the NAT does for another
 * destination.
 *
 * NATPUNCH-RANDOM-PORTS (0xC6F0), empty: "behind my NAT a connection has another port for each
 * destination, and which one cannot be predicted", of the home that registers; and in the answer to
 * CONNECT, that the home which holds the initiator's family said so. Then an initiator that finds
 * the same of its own NAT need not wait for a direct way.
 *
 * NATPUNCH-PROVED-PORT (0xC6EF), 4 bytes: the port of the same address by which strangers get in,
 * if a router forwards another one than the mapping's. A RECORD of a LOOKUP has it instead of the
 * mapping's; one of a CONNECT does not, as the punch goes to the mapping.
 *
 *  |             port              |               0               |
 *
 * NATPUNCH-OFFER (0xC6E7): "if there is no direct way, ask for RELAY over this connection". Its
 * value is the NONCE for that, bound to the connection as well as to the address, so a captured
 * RELAY request is worth nothing on any other connection.
 */
#ifndef NATPUNCH_PROTO_NAME_MESSAGES_H
#define NATPUNCH_PROTO_NAME_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/binding.h"
#include "natpunch/proto/port_prediction.h"
#include "natpunch/base/key.h"
#include "natpunch/base/mapping.h"
#include "natpunch/proto/stun_auth.h"
#include "natpunch/proto/stun.h"

#define NAME_MESSAGE_RECORD_MAX  4  /* one for each family and protocol */
#define NAME_MESSAGE_RECORD_SIZE 44 /* bytes of the attribute */
#define NAME_MESSAGE_PROOF_SIZE  44 /* of MESSAGE-INTEGRITY-SHA256 and FINGERPRINT */
#define NAME_MESSAGE_SALT_SIZE   STUN_AUTH_SALT_SIZE
#define NAME_MESSAGE_HOME_SIZE   8
#define NAME_MESSAGE_HOST_MAX    4
#define NAME_MESSAGE_REQUEST_MIN                                                                   \
	(STUN_HEADER_SIZE + NAME_MESSAGE_RECORD_MAX * NAME_MESSAGE_RECORD_SIZE +                   \
		NAME_MESSAGE_PROOF_SIZE)
#define NAME_MESSAGE_NONCE_MAX 128 /* characters (RFC 8489 14.10) */

struct name_message_registration {
	enum mapping_protocol protocol;
	uint16_t local_port;
	uint16_t mapped_port;
	uint16_t seconds;
};

struct name_message_record {
	struct addr addr;
	enum mapping_protocol protocol;
	uint16_t local_port;
	uint16_t seconds;
	uint32_t age; /* seconds */
	bool held;
};

void name_message_put_registration(
	struct wire_writer *writer, const struct name_message_registration *registration);

/* Returns -1 for another size, protocol or a local port of 0. */
int name_message_read_registration(const struct stun_attribute *attribute,
	struct name_message_registration *out) __attribute__((warn_unused_result));

/* Masks a record for the message that is being written. `salt` is random, never used twice. */
void name_message_put_record(struct wire_writer *writer, const struct name_message_record *record,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[NAME_MESSAGE_SALT_SIZE]);

/* The same as a RIVAL. */
void name_message_put_rival(struct wire_writer *writer, const struct name_message_record *record,
	const uint8_t secret[KEY_SECRET_SIZE], const uint8_t salt[NAME_MESSAGE_SALT_SIZE]);

/* Home's own addresses. `salt` as above, one for each. */
void name_message_put_host(struct wire_writer *writer, const struct addr *host,
	enum mapping_protocol protocol, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t salt[NAME_MESSAGE_SALT_SIZE]);

/* Those in a message, without what is none. Returns how many. */
size_t name_message_read_hosts(const struct stun_message *message,
	const uint8_t secret[KEY_SECRET_SIZE], struct addr out[NAME_MESSAGE_HOST_MAX]);

/* Of either kind. Returns -1 for what is no record: so reads every record of another key. */
int name_message_read_record(const struct stun_message *message,
	const struct stun_attribute *attribute, const uint8_t secret[KEY_SECRET_SIZE],
	struct name_message_record *out) __attribute__((warn_unused_result));

/*
 * The asking side: one question about one name, as a conversation of several requests. It has no
 * socket and no clock: name_message_write() gives the bytes to send, name_message_read() judges
 * what came back. Over UDP the same bytes are sent again until an answer comes.
 */
enum name_message_outcome {
	NAME_MESSAGE_AGAIN,       /* a nonce came: name_message_write() has the next request */
	NAME_MESSAGE_DONE,        /* the answer, proven: records, mode */
	NAME_MESSAGE_REFUSED,     /* not with this key; or the name is not known there */
	NAME_MESSAGE_UNSUPPORTED, /* this server keeps no names */
	NAME_MESSAGE_FAILED,      /* another error: `code`, or nonces without end */
	NAME_MESSAGE_UNRELATED,   /* well formed, but no answer to the last request */
	NAME_MESSAGE_MALFORMED,   /* not an answer, or one without the proof that it must have */
};

struct name_question {
	uint16_t method;
	const struct key *key;                         /* the caller's; must outlive this */
	struct name_message_registration registration; /* with REGISTER, */
	uint8_t home[NAME_MESSAGE_HOME_SIZE];          /* and who says so; all zero: not told */
	struct addr hosts[NAME_MESSAGE_HOST_MAX];      /* home's own: with REGISTER to be told, */
	size_t host_count;                             /* with CONNECT the answer */
	bool random_ports;                             /* and RANDOM-PORTS likewise */
	uint16_t proved_port;   /* with REGISTER; 0: no other one than that of the mapping */
	enum binding_mode mode; /* how the connection is to go on; NONE: as it is */
	uint16_t mode_seconds;
	struct port_prediction prediction; /* port 0: there is none */

	uint8_t transaction[STUN_TRANSACTION_SIZE]; /* of the last request */
	uint8_t nonce[NAME_MESSAGE_NONCE_MAX];
	size_t nonce_size; /* 0: the first request, which fetches one */
	unsigned tries;

	struct name_message_record records[NAME_MESSAGE_RECORD_MAX];
	size_t record_count;
	struct name_message_record rival; /* of REGISTER; its family is ADDR_NONE: there is none */
	bool home_random_ports;           /* of CONNECT: home says so */
	enum binding_mode granted;
	struct addr other;                     /* OTHER-ADDRESS, or ADDR_NONE */
	uint8_t offer[NAME_MESSAGE_NONCE_MAX]; /* of a relay */
	size_t offer_size;                     /* 0: none was made */
	unsigned code;
};

/* Sets method and key, and all else to zero; set the rest before the first write. */
void name_message_start(struct name_question *question, uint16_t method, const struct key *key);

/* After CONNECT: the next request is another one, with a prediction of our port. */
void name_message_predict(struct name_question *question, const struct port_prediction *prediction);

/*
 * After CONNECT: the next request is RELAY, as was offered. Returns false when nothing was. Further
 * requests must go over the same connection.
 */
bool name_message_take_offer(struct name_question *question);

/*
 * Writes the next request, under a transaction id of its own made from 12 random bytes. Returns
 * its size, or 0 when capacity is too small.
 */
size_t name_message_write(
	struct name_question *question, const uint8_t random[12], void *out, size_t capacity);

/*
 * Judges one whole message. With MALFORMED and UNRELATED, *why is a constant that says what is
 * wrong; over UDP both mean to wait on, since anybody can send a datagram.
 */
enum name_message_outcome name_message_read(
	struct name_question *question, const void *data, size_t size, const char **why);

#endif
