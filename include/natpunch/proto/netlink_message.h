/*
 * netlink_message.h - the framing of netlink messages: headers, attributes, acknowledgements.
 *
 *	0                   1                   2                   3
 *	+---------------------------------------------------------------+
 *	|                  size, this header included                   |
 *	+-------------------------------+-------------------------------+
 *	|             type              |             flags             |
 *	+-------------------------------+-------------------------------+
 *	|                           sequence                            |
 *	+---------------------------------------------------------------+
 *	|                      port id of the sender                    |
 *	+---------------------------------------------------------------+
 *	|  a header of the protocol's own, then attributes:             |
 *	+-------------------------------+-------------------------------+
 *	|  size, these 4 bytes included |  type, two bits of it flags   |
 *	+-------------------------------+-------------------------------+
 *	|  value, padded to a multiple of 4 with bytes not counted      |
 *
 * Headers are in this machine's byte order; the integers in netfilter's attributes are big-endian.
 * See netlink(7) and, for the numbers, linux/netlink.h.
 *
 * A writer that has no room left fails and stays so (wire.h); look at it once, at the end. A reader
 * never steps out of its message or its attribute, whatever sizes these claim.
 */
#ifndef NATPUNCH_PROTO_NETLINK_MESSAGE_H
#define NATPUNCH_PROTO_NETLINK_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "natpunch/base/wire.h"

#define NETLINK_MESSAGE_HEADER_SIZE    16
#define NETLINK_MESSAGE_ATTRIBUTE_SIZE 4 /* of an attribute's header */
#define NETLINK_MESSAGE_TYPE_ERROR     2 /* an acknowledgement as well */

/* Flags of a message. */
#define NETLINK_MESSAGE_REQUEST 0x001
#define NETLINK_MESSAGE_ACK     0x004
#define NETLINK_MESSAGE_EXCL    0x200
#define NETLINK_MESSAGE_CREATE  0x400
#define NETLINK_MESSAGE_APPEND  0x800

struct netlink_message_writer {
	struct wire_writer wire;
	size_t message; /* where the message that is being written begins */
};

void netlink_message_writer_start(
	struct netlink_message_writer *writer, void *data, size_t capacity);

/* The bytes of all messages that were ended, or 0 when they did not fit. */
size_t netlink_message_writer_size(const struct netlink_message_writer *writer);

/* Begins a message with its header; what is put from now on is in it, until it is ended. */
void netlink_message_begin(
	struct netlink_message_writer *writer, uint16_t type, uint16_t flags, uint32_t sequence);
void netlink_message_end(struct netlink_message_writer *writer);

/* Attributes. A text goes with its NUL. A value of more than 65531 bytes fails. */
void netlink_message_put(
	struct netlink_message_writer *writer, uint16_t type, const void *value, size_t size);
void netlink_message_put_u8(struct netlink_message_writer *writer, uint16_t type, uint8_t value);
void netlink_message_put_be16(struct netlink_message_writer *writer, uint16_t type, uint16_t value);
void netlink_message_put_be32(struct netlink_message_writer *writer, uint16_t type, uint32_t value);
void netlink_message_put_text(
	struct netlink_message_writer *writer, uint16_t type, const char *text);

/* An attribute that holds those put until its end. Returns its place, for
 * netlink_message_end_nest(). */
size_t netlink_message_begin_nest(struct netlink_message_writer *writer, uint16_t type);
void netlink_message_end_nest(struct netlink_message_writer *writer, size_t place);

struct netlink_message {
	uint16_t type;
	uint16_t flags;
	uint32_t sequence;
	uint32_t port;           /* of the sender; 0: the kernel */
	struct wire_reader body; /* what follows the header, without padding */
};

/*
 * Takes the next message out of what one recv(2) gave. Returns false at the end, and when a
 * header's size is less than a header or more than is left: the rest is then not to be trusted,
 * and the reader has failed.
 */
bool netlink_message_next(struct wire_reader *reader, struct netlink_message *out);

struct netlink_message_attribute {
	uint16_t type; /* without the flags */
	struct wire_reader value;
};

/*
 * Takes the next attribute of a message's body (behind the protocol's own header) or of another
 * attribute's value. Returns false at the end and, with the reader failed, when it is malformed.
 */
bool netlink_message_next_attribute(
	struct wire_reader *reader, struct netlink_message_attribute *out);

/* An attribute's value as an integer: true when it is of exactly that size. */
bool netlink_message_get_u8(const struct netlink_message_attribute *attribute, uint8_t *out);
bool netlink_message_get_be16(const struct netlink_message_attribute *attribute, uint16_t *out);
bool netlink_message_get_be32(const struct netlink_message_attribute *attribute, uint32_t *out);

/*
 * Of a message of NETLINK_MESSAGE_TYPE_ERROR: *code becomes 0 for an acknowledgement, else a
 * positive errno value. Returns false when it is another message or too short, or the value is no
 * errno.
 */
bool netlink_message_read_error(const struct netlink_message *message, int *code);

#endif
