/*
 * A DNS answer (RFC 1035 section 4.1):
 *
 *     0      2       4         6         8         10        12
 *     | id   | flags | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT | questions, answers, ...
 *
 * A question is a name, a type and a class; a record a name, type, class, TTL, length and data; the
 * data of an SRV record priority, weight, port and a name. A name is a row of labels, each behind
 * its length, up to one of length 0; two bytes with the two highest bits set say at which offset it
 * goes on. Such a jump must lead to before where the name, or what the last jump led to, began: so
 * a name comes to an end whatever the bytes.
 */
#include "natpunch/proto/dns_srv.h"

#include <stdbool.h>
#include <string.h>

#include "natpunch/base/wire.h"

#define HEADER_SIZE 12
#define FLAG_ANSWER 0x8000
#define FLAG_CUT    0x0200
#define CODE_MASK   0x000f
#define TYPE_SRV    33
#define CLASS_IN    1
#define LABEL_MAX   63
#define JUMP        0xc0
#define SERVICE     "_natpunch._tcp."
#define NAME_MOST   253 /* as text; RFC 1035 2.3.4 without the lengths at both ends */

int dns_srv_write_name(const char *host, char out[HOST_PORT_HOST_SIZE])
{
	size_t size = strlen(host);

	/* With a dot at the end or without. */
	if (size > 0 && host[size - 1] == '.')
		size--;
	if (size == 0 || size > NAME_MOST - strlen(SERVICE))
		return -1;
	memcpy(out, SERVICE, strlen(SERVICE));
	memcpy(out + strlen(SERVICE), host, size);
	out[strlen(SERVICE) + size] = '\0';
	return 0;
}

static bool is_host_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* A name as it is put together; out is NULL when nobody wants it. */
struct name {
	char *out;
	size_t size;
	bool is_host; /* nothing in it that no host name has */
};

static bool add_label(struct name *name, const uint8_t *label, size_t size)
{
	if (name->size + size + (name->size > 0) > NAME_MOST)
		return false;
	if (name->size > 0 && name->out != NULL)
		name->out[name->size] = '.';
	name->size += name->size > 0;
	for (size_t i = 0; i < size; i++) {
		name->is_host = name->is_host && is_host_char(label[i]) &&
				!(label[i] == '-' && name->size + i == 0);
		if (name->out != NULL)
			name->out[name->size + i] = (char)label[i];
	}
	name->size += size;
	return true;
}

/* Reads a name, and leaves the reader behind it. */
static bool read_name(struct wire_reader *reader, struct name *name)
{
	struct wire_reader at = *reader;
	size_t bound = reader->offset;
	bool jumped = false;
	uint8_t length, low;

	while (wire_read_u8(&at, &length) && length != 0) {
		if (length >= JUMP) {
			size_t to = (size_t)(length & ~JUMP) << 8;
			if (!wire_read_u8(&at, &low) || (to |= low) >= bound)
				break;
			if (!jumped)
				reader->offset = at.offset;
			jumped = true;
			at.offset = bound = to;
			continue;
		}
		const uint8_t *label = length <= LABEL_MAX ? wire_read_view(&at, length) : NULL;
		if (label == NULL || !add_label(name, label, length))
			break;
		length = 1; /* if nothing follows, it has not ended */
	}
	if (at.failed || length != 0) {
		reader->failed = true;
		return false;
	}
	if (!jumped)
		reader->offset = at.offset;
	if (name->out != NULL)
		name->out[name->size] = '\0';
	return true;
}

static bool skip_name(struct wire_reader *reader)
{
	struct name name = {.out = NULL};

	return read_name(reader, &name);
}

/* Reads one record, and keeps it if it is of use. */
static bool read_record(struct wire_reader *reader, struct dns_srv_answer *out)
{
	struct dns_srv_record record;
	struct name name = {.out = record.target, .is_host = true};
	uint16_t type, class, size;
	uint32_t ttl;

	if (!skip_name(reader) || !wire_read_u16(reader, &type) || !wire_read_u16(reader, &class) ||
		!wire_read_u32(reader, &ttl) || !wire_read_u16(reader, &size) ||
		size > wire_reader_left(reader))
		return false;
	if (type != TYPE_SRV || class != CLASS_IN)
		return wire_read_view(reader, size) != NULL;
	size_t end = reader->offset + size;
	if (!wire_read_u16(reader, &record.priority) || !wire_read_u16(reader, &record.weight) ||
		!wire_read_u16(reader, &record.port) || !read_name(reader, &name) ||
		reader->offset != end)
		return false;
	if (name.size > 0 && name.is_host && record.port != 0 && out->count < DNS_SRV_MAX)
		out->records[out->count++] = record;
	return true;
}

int dns_srv_read(const void *data, size_t size, struct dns_srv_answer *out)
{
	struct wire_reader reader;
	uint16_t id, flags, questions, answers;
	uint32_t more;

	out->count = 0;
	wire_reader_start(&reader, data, size);
	wire_read_u16(&reader, &id);
	wire_read_u16(&reader, &flags);
	wire_read_u16(&reader, &questions);
	wire_read_u16(&reader, &answers);
	if (!wire_read_u32(&reader, &more) || (flags & FLAG_ANSWER) == 0 ||
		(flags & (FLAG_CUT | CODE_MASK)) != 0)
		return -1;
	for (; questions > 0; questions--)
		if (!skip_name(&reader) || !wire_read_u32(&reader, &more))
			return -1;
	for (; answers > 0; answers--) {
		if (read_record(&reader, out))
			continue;
		out->count = 0;
		return -1;
	}
	return 0;
}

/*
 * Which of the records is tried next (RFC 2782, "Weight"): of those of the lowest priority, with
 * those of weight 0 before the others, the first at which the sum of the weights reaches a number
 * drawn from 0 to the sum of all.
 */
static size_t choose(const struct dns_srv_record *records, size_t count, uint32_t random)
{
	uint16_t priority = records[0].priority;
	uint32_t sum = 0, reached = 0;
	size_t last = 0;

	for (size_t i = 1; i < count; i++)
		if (records[i].priority < priority)
			priority = records[i].priority;
	for (size_t i = 0; i < count; i++)
		if (records[i].priority == priority)
			sum += records[i].weight;
	random %= sum + 1;
	for (int heavy = 0; heavy < 2; heavy++)
		for (size_t i = 0; i < count; i++) {
			if (records[i].priority != priority || (records[i].weight > 0) != heavy)
				continue;
			last = i;
			reached += records[i].weight;
			if (reached >= random)
				return i;
		}
	return last;
}

void dns_srv_order(struct dns_srv_answer *answer, const uint32_t random[DNS_SRV_MAX])
{
	for (size_t i = 0; i + 1 < answer->count; i++) {
		struct dns_srv_record *rest = answer->records + i;
		size_t chosen = choose(rest, answer->count - i, random[i]);
		struct dns_srv_record record = rest[chosen];

		memmove(rest + 1, rest, chosen * sizeof(*rest));
		rest[0] = record;
	}
}
