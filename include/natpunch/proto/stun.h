/*
 * stun.h - STUN messages (RFC 8489), read and written.
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  |0 0|     STUN Message Type     |         Message Length        |
 *  |                         Magic Cookie                          |
 *  |                     Transaction ID (96 bits)                  |
 *
 * followed by attributes {type, length, value padded to 4 bytes} (RFC 8489 sections 5 and 14).
 * A message of RFC 3489 has no cookie: its transaction id is all 128 bits. `transaction` below is
 * always those 16 bytes, cookie included, so both kinds are matched in the same way.
 */
#ifndef NATPUNCH_PROTO_STUN_H
#define NATPUNCH_PROTO_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/addr.h"
#include "natpunch/base/wire.h"

#define STUN_HEADER_SIZE      20
#define STUN_TRANSACTION_SIZE 16 /* cookie and id */
#define STUN_MAGIC_COOKIE     0x2112A442U
#define STUN_MESSAGE_MAX      1024 /* longest message on a stream, ours or not */
#define STUN_DATAGRAM_MAX     2048 /* longest in a datagram: one with PADDING, RFC 5780 7.6 */
#define STUN_DEFAULT_PORT     3478

/* Where a reflector of ours can be asked as well (upkeep.c says what for): far from what else is
 * used. */
#define STUN_SPARE_PORT(port) ((uint16_t)((port) > 55535 ? (port)-10000 : (port) + 10000))

enum stun_class {
	STUN_REQUEST = 0,
	STUN_INDICATION = 1,
	STUN_SUCCESS = 2,
	STUN_ERROR = 3,
};

enum stun_method {
	STUN_METHOD_BINDING = 0x001,
	STUN_METHOD_REGISTER = 0x0E1, /* ours; name_messages.h */
	STUN_METHOD_LOOKUP = 0x0E2,
	STUN_METHOD_CONNECT = 0x0E3,
	STUN_METHOD_DIAL = 0x0E4,       /* dialback.h */
	STUN_METHOD_INVITE = 0x0E5,     /* invitation.h */
	STUN_METHOD_RELAY = 0x0E6,      /* name_messages.h */
	STUN_METHOD_JOIN = 0x0E7,       /* relay_messages.h */
	STUN_METHOD_PREDICTION = 0x0E8, /* invitation.h */
	STUN_METHOD_CHECK = 0x0E9,      /* udp_check.h */
};

enum stun_attribute_type {
	STUN_MAPPED_ADDRESS = 0x0001,
	STUN_RESPONSE_ADDRESS = 0x0002, /* RFC 3489, deprecated, never honoured */
	STUN_CHANGE_REQUEST = 0x0003,   /* RFC 5780 7.2 */
	STUN_SOURCE_ADDRESS = 0x0004,   /* RFC 3489 */
	STUN_CHANGED_ADDRESS = 0x0005,  /* RFC 3489 */
	STUN_USERNAME = 0x0006,
	STUN_MESSAGE_INTEGRITY = 0x0008,
	STUN_ERROR_CODE = 0x0009,
	STUN_UNKNOWN_ATTRIBUTES = 0x000A,
	STUN_REALM = 0x0014,
	STUN_NONCE = 0x0015,
	STUN_MESSAGE_INTEGRITY_SHA256 = 0x001C,
	STUN_XOR_MAPPED_ADDRESS = 0x0020,
	STUN_PADDING = 0x0026,                /* RFC 5780 7.6 */
	STUN_RESPONSE_PORT = 0x0027,          /* RFC 5780 7.5 */
	STUN_OLD_XOR_MAPPED_ADDRESS = 0x8020, /* of the drafts of RFC 5389; stuntman and others */
	STUN_SOFTWARE = 0x8022,
	STUN_ALTERNATE_SERVER = 0x8023, /* RFC 8489 14.15 */
	STUN_FINGERPRINT = 0x8028,
	STUN_RESPONSE_ORIGIN = 0x802B,       /* RFC 5780 7.3 */
	STUN_OTHER_ADDRESS = 0x802C,         /* RFC 5780 7.4 */
	STUN_NATPUNCH_CONNECTION = 0xC6E0,   /* ours; binding.h */
	STUN_NATPUNCH_REGISTRATION = 0xC6E1, /* name_messages.h */
	STUN_NATPUNCH_RECORD = 0xC6E2,
	STUN_NATPUNCH_PADDING = 0xC6E3,
	STUN_NATPUNCH_DIAL = 0xC6E4, /* dialback.h */
	STUN_NATPUNCH_DIALLED = 0xC6E5,
	STUN_NATPUNCH_INVITATION = 0xC6E6, /* invitation.h */
	STUN_NATPUNCH_OFFER = 0xC6E7,      /* name_messages.h */
	STUN_NATPUNCH_TICKET = 0xC6E8,     /* relay_messages.h */
	STUN_NATPUNCH_JOIN = 0xC6E9,
	STUN_NATPUNCH_PREDICTION = 0xC6EA, /* port_prediction.h */
	STUN_NATPUNCH_INITIATOR = 0xC6EB,  /* invitation.h */
	STUN_NATPUNCH_HOME = 0xC6EC,       /* name_messages.h */
	STUN_NATPUNCH_RIVAL = 0xC6ED,
	STUN_NATPUNCH_HOST = 0xC6EE,
	STUN_NATPUNCH_PROVED_PORT = 0xC6EF,
	STUN_NATPUNCH_RANDOM_PORTS = 0xC6F0,
	STUN_NATPUNCH_CHECK = 0xC6F4, /* udp_check.h */
};

/* A message that stun_parse() found well formed. Points into the caller's bytes. */
struct stun_message {
	const uint8_t *data;
	size_t size; /* header and attributes */
	uint16_t method;
	enum stun_class class;
	bool classic; /* RFC 3489: no magic cookie */
	bool has_fingerprint;
	uint8_t transaction[STUN_TRANSACTION_SIZE];
};

struct stun_attribute {
	uint16_t type;
	uint16_t size;        /* of the value, without its padding */
	const uint8_t *value; /* inside the message */
};

enum stun_frame {
	STUN_FRAME_NOT_STUN, /* these bytes cannot begin a STUN message */
	STUN_FRAME_PARTIAL,  /* so far so good, more is needed */
	STUN_FRAME_COMPLETE,
};

/*
 * Finds the end of the first message in a stream. With STUN_FRAME_PARTIAL, *need is how many bytes
 * in all the message takes as far as is known (20 until the header is there); with COMPLETE, its
 * size. NOT_STUN: first two bits not 0, length not a multiple of 4, no magic cookie (over a stream
 * RFC 3489 is not spoken), or more than STUN_MESSAGE_MAX.
 */
enum stun_frame stun_frame(const void *data, size_t size, size_t *need);

/* The method that a message names, whole and right or not; 0, which is none, if there is no header.
 */
uint16_t stun_peek_method(const void *data, size_t size);

/*
 * Reads a whole message (a datagram, or what stun_frame() cut out). `size` must be the message to
 * the byte. Every attribute's length is checked here, so that stun_next() cannot fail later, and a
 * FINGERPRINT must be the last attribute and right (RFC 8489 14.7). Attributes behind a
 * MESSAGE-INTEGRITY-SHA256 or MESSAGE-INTEGRITY other than those two and FINGERPRINT are still
 * listed by stun_next(). Returns 0, or -1 when it is not a STUN message.
 */
int stun_parse(struct stun_message *out, const void *data, size_t size)
	__attribute__((warn_unused_result));

/* Walks the attributes: start with *offset = 0. Returns false after the last one. */
bool stun_next(const struct stun_message *message, size_t *offset, struct stun_attribute *out);

/* The first attribute of that type (RFC 8489 14: later duplicates are ignored), or false. */
bool stun_find(const struct stun_message *message, uint16_t type, struct stun_attribute *out);

/*
 * Decodes MAPPED-ADDRESS and its kin (RFC 8489 14.1) or, with `xored`, XOR-MAPPED-ADDRESS (14.2).
 * Returns -1 for an unknown family or a length that does not belong to it.
 */
int stun_read_address(const struct stun_message *message, const struct stun_attribute *attribute,
	bool xored, struct addr *out) __attribute__((warn_unused_result));

/*
 * Decodes ERROR-CODE (RFC 8489 14.8): *code is 300 to 699; the reason stays in the attribute.
 * Returns -1 when it is malformed.
 */
int stun_read_error(const struct stun_attribute *attribute, unsigned *code, const uint8_t **reason,
	size_t *reason_size) __attribute__((warn_unused_result));

/*
 * Writing. stun_begin() writes the header, the puts append, stun_finish() sets the length and
 * returns the message's size, or 0 when anything did not fit, into the buffer or into
 * STUN_DATAGRAM_MAX. The writer's buffer is the caller's.
 */
void stun_begin(struct wire_writer *writer, void *buffer, size_t capacity, enum stun_class class,
	uint16_t method, const uint8_t transaction[STUN_TRANSACTION_SIZE]);
void stun_put(struct wire_writer *writer, uint16_t type, const void *value, size_t size);
void stun_put_zeros(struct wire_writer *writer, uint16_t type, size_t size);
void stun_put_address(struct wire_writer *writer, uint16_t type, const struct addr *addr);
void stun_put_xor_address(struct wire_writer *writer, uint16_t type, const struct addr *addr);
void stun_put_error(struct wire_writer *writer, unsigned code, const char *reason);
void stun_put_unknown(struct wire_writer *writer, const uint16_t *types, size_t count);
void stun_put_fingerprint(struct wire_writer *writer); /* must be the last put */
size_t stun_finish(struct wire_writer *writer);

/* A transaction id from 12 random bytes: the magic cookie in front. */
void stun_make_transaction(uint8_t out[STUN_TRANSACTION_SIZE], const uint8_t random[12]);

/* CRC-32 of ITU-T V.42, as FINGERPRINT uses it (before its xor with 0x5354554e). */
uint32_t stun_crc32(const void *data, size_t size);

#endif
