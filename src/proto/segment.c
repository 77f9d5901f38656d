#include "natpunch/proto/segment.h"

#include <string.h>

#include "natpunch/base/wire.h"

#define IPV4_MIN        20
#define IPV4_VERSION    4
#define IPV4_FRAGMENT   0x3fff /* More Fragments and the offset; not Don't Fragment */
#define OFFSET_CHECKSUM 16
#define UDP_CHECKSUM    6

enum option_kind {
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	OPTION_TIMESTAMPS = 8,
	OPTION_MD5 = 19,
};

#define OPTION_MSS_SIZE        4
#define OPTION_TIMESTAMPS_SIZE 10
#define OPTION_MD5_SIZE        (2 + SEGMENT_MD5_SIZE)

static void read_ip(struct wire_reader *reader, enum addr_family family, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	out->family = (uint8_t)family;
	wire_read_bytes(reader, out->ip, addr_ip_size(out));
}

int segment_read_ipv4(struct segment_packet *out, const void *data, size_t size)
{
	struct wire_reader reader;
	uint8_t version, skip, protocol;
	uint16_t total, word;
	size_t header;

	memset(out, 0, sizeof(*out));
	wire_reader_start(&reader, data, size);
	wire_read_u8(&reader, &version);
	wire_read_u8(&reader, &skip); /* type of service */
	wire_read_u16(&reader, &total);
	wire_read_u16(&reader, &word); /* identification */
	wire_read_u16(&reader, &word);
	wire_read_u8(&reader, &skip); /* time to live */
	wire_read_u8(&reader, &protocol);
	if (reader.failed || version >> 4 != IPV4_VERSION || (word & IPV4_FRAGMENT) != 0)
		return -1;
	wire_read_u16(&reader, &word); /* checksum */
	read_ip(&reader, ADDR_IPV4, &out->source);
	read_ip(&reader, ADDR_IPV4, &out->destination);
	header = (size_t)(version & 0xf) * 4;
	if (reader.failed || header < IPV4_MIN || total < header || total > size) {
		memset(out, 0, sizeof(*out));
		return -1;
	}
	out->protocol = protocol;
	out->payload = reader.data + header;
	out->payload_size = total - header;
	return 0;
}

/* Each known option stands once at most and has one length. Returns false when it is not so. */
static bool read_option(struct segment *out, uint8_t kind, struct wire_reader *value)
{
	size_t left = wire_reader_left(value);

	switch ((enum option_kind)kind) {
	case OPTION_MSS:
		if (out->has_mss || left != OPTION_MSS_SIZE - 2)
			return false;
		out->has_mss = true;
		return wire_read_u16(value, &out->mss);
	case OPTION_TIMESTAMPS:
		if (out->has_timestamps || left != OPTION_TIMESTAMPS_SIZE - 2)
			return false;
		out->has_timestamps = true;
		wire_read_u32(value, &out->timestamp);
		return wire_read_u32(value, &out->timestamp_echo);
	case OPTION_MD5:
		if (out->has_md5 || left != SEGMENT_MD5_SIZE)
			return false;
		out->has_md5 = true;
		return wire_read_bytes(value, out->md5, sizeof(out->md5));
	case OPTION_END:
	case OPTION_NOP:
		break;
	}
	return true;
}

/* RFC 9293 3.1: kinds 0 and 1 are one byte, all others have a length that counts both bytes. */
static bool read_options(struct segment *out, struct wire_reader *options)
{
	while (wire_reader_left(options) > 0) {
		struct wire_reader value;
		const uint8_t *view;
		uint8_t kind, length;

		wire_read_u8(options, &kind);
		if (kind == OPTION_END)
			return true;
		if (kind == OPTION_NOP)
			continue;
		if (!wire_read_u8(options, &length) || length < 2)
			return false;
		view = wire_read_view(options, (size_t)length - 2);
		if (view == NULL)
			return false;
		wire_reader_start(&value, view, (size_t)length - 2);
		if (!read_option(out, kind, &value))
			return false;
	}
	return true;
}

/* Returns the size of the whole header, or 0 when there is none. */
static size_t read_tcp_header(struct segment *out, struct wire_reader *reader)
{
	uint16_t offset_flags, skip;
	size_t header;

	wire_read_u16(reader, &out->source.port);
	wire_read_u16(reader, &out->destination.port);
	wire_read_u32(reader, &out->sequence);
	wire_read_u32(reader, &out->acknowledgment);
	wire_read_u16(reader, &offset_flags);
	wire_read_u16(reader, &out->window);
	wire_read_u16(reader, &skip); /* checksum */
	wire_read_u16(reader, &skip); /* urgent pointer */
	out->flags = (uint8_t)(offset_flags & 0xff);
	header = (size_t)(offset_flags >> 12) * 4;
	return reader->failed || header < SEGMENT_TCP_MIN ? 0 : header;
}

int segment_read_tcp(struct segment *out, const struct segment_packet *packet)
{
	struct wire_reader reader, options;
	const uint8_t *view = NULL;
	size_t header;

	memset(out, 0, sizeof(*out));
	out->source = packet->source;
	out->destination = packet->destination;
	wire_reader_start(&reader, packet->payload, packet->payload_size);
	header = read_tcp_header(out, &reader);
	if (header != 0)
		view = wire_read_view(&reader, header - SEGMENT_TCP_MIN);
	if (view != NULL) {
		wire_reader_start(&options, view, header - SEGMENT_TCP_MIN);
		if (read_options(out, &options)) {
			out->data_size = wire_reader_left(&reader);
			out->data = wire_read_view(&reader, out->data_size);
			return 0;
		}
	}
	memset(out, 0, sizeof(*out));
	return -1;
}

int segment_read_udp(struct segment_datagram *out, const struct segment_packet *packet)
{
	struct wire_reader reader;
	uint16_t length, checksum;

	memset(out, 0, sizeof(*out));
	out->source = packet->source;
	out->destination = packet->destination;
	wire_reader_start(&reader, packet->payload, packet->payload_size);
	wire_read_u16(&reader, &out->source.port);
	wire_read_u16(&reader, &out->destination.port);
	wire_read_u16(&reader, &length);
	wire_read_u16(&reader, &checksum);
	if (!reader.failed && length >= SEGMENT_UDP_SIZE) {
		out->data_size = (size_t)length - SEGMENT_UDP_SIZE;
		out->data = wire_read_view(&reader, out->data_size);
		if (out->data != NULL)
			return 0;
	}
	memset(out, 0, sizeof(*out));
	return -1;
}

/* An odd byte at the end counts as the high half of a word (RFC 1071 4.1). */
static uint64_t add_words(uint64_t sum, const uint8_t *at, size_t size)
{
	for (; size >= 2; size -= 2, at += 2)
		sum += (uint64_t)(at[0] << 8 | at[1]);
	if (size == 1)
		sum += (uint64_t)at[0] << 8;
	return sum;
}

uint16_t segment_checksum(uint8_t protocol, const struct addr *source,
	const struct addr *destination, const void *data, size_t size)
{
	uint64_t sum = (uint64_t)protocol + size;

	sum = add_words(sum, source->ip, addr_ip_size(source));
	sum = add_words(sum, destination->ip, addr_ip_size(destination));
	sum = add_words(sum, data, size);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(~sum & 0xffff);
}

static size_t options_size(const struct segment *segment)
{
	size_t size = 0;

	if (segment->has_mss)
		size += OPTION_MSS_SIZE;
	if (segment->has_md5)
		size += OPTION_MD5_SIZE;
	if (segment->has_timestamps)
		size += OPTION_TIMESTAMPS_SIZE;
	return (size + 3) / 4 * 4;
}

static void write_options(const struct segment *segment, struct wire_writer *writer, size_t end)
{
	if (segment->has_mss) {
		wire_write_u8(writer, OPTION_MSS);
		wire_write_u8(writer, OPTION_MSS_SIZE);
		wire_write_u16(writer, segment->mss);
	}
	if (segment->has_md5) {
		wire_write_u8(writer, OPTION_MD5);
		wire_write_u8(writer, OPTION_MD5_SIZE);
		wire_write_bytes(writer, segment->md5, sizeof(segment->md5));
	}
	if (segment->has_timestamps) {
		wire_write_u8(writer, OPTION_TIMESTAMPS);
		wire_write_u8(writer, OPTION_TIMESTAMPS_SIZE);
		wire_write_u32(writer, segment->timestamp);
		wire_write_u32(writer, segment->timestamp_echo);
	}
	while (!writer->failed && writer->offset < end)
		wire_write_u8(writer, OPTION_NOP);
}

size_t segment_write_tcp(const struct segment *segment, void *out, size_t capacity)
{
	size_t header = SEGMENT_TCP_MIN + options_size(segment);
	struct wire_writer writer;

	wire_writer_start(&writer, out, capacity);
	wire_write_u16(&writer, segment->source.port);
	wire_write_u16(&writer, segment->destination.port);
	wire_write_u32(&writer, segment->sequence);
	wire_write_u32(&writer, segment->acknowledgment);
	wire_write_u16(&writer, (uint16_t)(header / 4 << 12 | segment->flags));
	wire_write_u16(&writer, segment->window);
	wire_write_zeros(&writer, 4); /* checksum, urgent pointer */
	write_options(segment, &writer, header);
	wire_write_bytes(&writer, segment->data, segment->data_size);
	if (writer.failed || writer.offset > UINT16_MAX)
		return 0;
	wire_patch_u16(&writer, OFFSET_CHECKSUM,
		segment_checksum(SEGMENT_PROTOCOL_TCP, &segment->source, &segment->destination, out,
			writer.offset));
	return writer.offset;
}

size_t segment_write_udp(const struct segment_datagram *datagram, void *out, size_t capacity)
{
	struct wire_writer writer;
	uint16_t checksum;

	if (datagram->data_size > UINT16_MAX - SEGMENT_UDP_SIZE)
		return 0;
	wire_writer_start(&writer, out, capacity);
	wire_write_u16(&writer, datagram->source.port);
	wire_write_u16(&writer, datagram->destination.port);
	wire_write_u16(&writer, (uint16_t)(SEGMENT_UDP_SIZE + datagram->data_size));
	wire_write_zeros(&writer, 2); /* checksum */
	wire_write_bytes(&writer, datagram->data, datagram->data_size);
	if (writer.failed)
		return 0;
	checksum = segment_checksum(SEGMENT_PROTOCOL_UDP, &datagram->source, &datagram->destination,
		out, writer.offset);
	/* RFC 768: a zero would say that there is no checksum. */
	wire_patch_u16(&writer, UDP_CHECKSUM, checksum == 0 ? UINT16_MAX : checksum);
	return writer.offset;
}
