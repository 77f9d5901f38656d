/*
 * invitation.h - "an initiator with your key comes from this address": the reflector's messages to
 * a home, over the connection that holds its name.
 *
 *   method      number  indication (reflector to home)
 *   INVITE      0x0E5   INVITATION, RECORD [, TICKET | INITIATOR, PREDICTION],
 *                       MESSAGE-INTEGRITY-SHA256, FINGERPRINT
 *   PREDICTION    0x0E8   (home to the reflector, and as it is to the initiator)
 *                       USERNAME, INITIATOR, PREDICTION, MESSAGE-INTEGRITY-SHA256, FINGERPRINT
 *
 * RECORD (name_messages.h) holds where the initiator was seen: the source of its CONNECT request,
 * masked under the name's key. Home connects to that address from the port that it keeps, while the
 * initiator connects to home's: a simultaneous open. With a TICKET (relay_messages.h) there is no
 * direct way to that address: home makes a connection to the reflector, and joins the initiator's
 * with it. With a PREDICTION (port_prediction.h) the first try has failed, and each tells the other
 * which public port it will come from: the initiator by its CONNECT, home by a PREDICTION. Home
 * connects to the ports that the initiator predicted, the initiator to those of home.
 *
 * A CONNECT that came over UDP is about home's UDP mapping in that family, and so is the INVITE:
 * the RECORD names UDP, and the reflector sends it once, as a datagram, from the address and port
 * that home's last REGISTER came to, to the mapping that it came from. Home and the initiator then
 * send each other checks (udp_check.h). A datagram may be lost; the initiator asks again, and each
 * CONNECT is a new INVITE. There is neither a TICKET nor a PREDICTION over UDP.
 *
 * NATPUNCH-INVITATION (0xC6E6), 16 bytes: which registration it belongs to
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |          transaction id of the REGISTER (96 bits) ...         |
 *  |                                                               |
 *  |                                                               |
 *  |                            number                             |
 *
 * Home made that id at random, and the number only grows: so home refuses an invitation of another
 * connection, or one that it has taken before.
 *
 * NATPUNCH-INITIATOR (0xC6EB), 20 bytes: whom a PREDICTION is for
 *
 *  |                     connection (64 bits)                      |
 *  |                                                               |
 *  |          transaction id of the CONNECT (96 bits) ...          |
 *
 * Only the reflector reads the connection. The initiator made that id at random, and takes no
 * PREDICTION for another id, so none twice.
 */
#ifndef NATPUNCH_PROTO_INVITATION_H
#define NATPUNCH_PROTO_INVITATION_H

#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/proto/port_prediction.h"
#include "natpunch/base/key.h"
#include "natpunch/proto/relay_messages.h"
#include "natpunch/proto/name_messages.h"
#include "natpunch/proto/stun.h"

#define INVITATION_SESSION_SIZE 12
#define INVITATION_SIZE_MAX     256 /* bytes that invitation_write() needs at most */

enum invitation_kind {
	INVITATION_PUNCH,      /* connect to the initiator */
	INVITATION_RELAY,      /* join it at the reflector: `ticket` */
	INVITATION_PREDICTION, /* say where you will come from, and connect to `prediction` */
};

/* Whom to answer: the connection that a CONNECT came over, and the transaction id of that. */
struct invitation_asker {
	uint64_t connection;
	uint8_t transaction[INVITATION_SESSION_SIZE];
};

struct invitation {
	uint8_t session[INVITATION_SESSION_SIZE]; /* of the REGISTER that stands */
	uint32_t number;                          /* 1 for the first, then one more each time */
	struct addr initiator;
	enum mapping_protocol protocol; /* of the mapping that is registered; UDP, or else TCP */
	enum invitation_kind kind;
	struct relay_ticket ticket;        /* INVITATION_RELAY */
	struct port_prediction prediction; /* INVITATION_PREDICTION: the initiator's, */
	struct invitation_asker asker;     /* and who it is */
};

/*
 * Returns the bytes written, or 0 when capacity is too small. `random` and `salt` are random and
 * never used twice; the salt serves record and ticket, which are masked under different labels.
 */
size_t invitation_write(const struct invitation *invitation, const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t random[12], const uint8_t salt[NAME_MESSAGE_SALT_SIZE], void *out,
	size_t capacity);

/*
 * Takes one whole message that came over the held connection. `expected` has the session, the
 * protocol and the number of the last invitation that was taken; on success the rest of it is set.
 * Returns 0; 1 for a message that is no invitation; -1 for one that is false: another key's,
 * another session's, another protocol's, a replay, or malformed.
 */
int invitation_read(struct invitation *expected, const uint8_t secret[KEY_SECRET_SIZE],
	const void *data, size_t size) __attribute__((warn_unused_result));

/*
 * Home's PREDICTION. Returns the bytes written, INVITATION_SIZE_MAX at most, or 0 when capacity is
 * too small. `random` is random and never used twice.
 */
size_t invitation_write_prediction(const struct invitation_asker *asker,
	const struct port_prediction *prediction, const struct key *key, const uint8_t random[12],
	void *out, size_t capacity);

/*
 * One that came to the initiator, whose CONNECT had this transaction id. Returns 0; 1 for a message
 * that is no PREDICTION; -1 for one that is false: another key's, for another, or malformed.
 */
int invitation_read_prediction(const uint8_t secret[KEY_SECRET_SIZE],
	const uint8_t transaction[INVITATION_SESSION_SIZE], const void *data, size_t size,
	struct port_prediction *out) __attribute__((warn_unused_result));

/* NATPUNCH-INITIATOR. Returns -1 for another size. */
int invitation_read_asker(const struct stun_attribute *attribute, struct invitation_asker *out)
	__attribute__((warn_unused_result));

#endif
