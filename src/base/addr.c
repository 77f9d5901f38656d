/*
 * addr.c - an IP address and a port, as a value.
 *
 * inet_pton() and inet_ntop() are not used: those of glibc and musl differ in what they take and
 * print, and a script that compares two lines must not see which library a binary was built with.
 */
#include "natpunch/base/addr.h"

#include <stdio.h>
#include <string.h>

#include "natpunch/base/parse.h"
#include "natpunch/base/text.h"

#define GROUPS 8 /* an IPv6 address is eight groups of 16 bits (RFC 4291 2.2) */

size_t addr_ip_size(const struct addr *addr)
{
	switch (addr->family) {
	case ADDR_IPV4:
		return 4;
	case ADDR_IPV6:
		return 16;
	default:
		return 0;
	}
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, addr_ip_size(a)) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return addr_equal_ip(a, b) && a->port == b->port;
}

static bool ip_is_mapped(const uint8_t ip[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(ip, prefix, sizeof(prefix)) == 0;
}

void addr_unmap(struct addr *addr)
{
	if (addr->family != ADDR_IPV6 || !ip_is_mapped(addr->ip))
		return;
	memcpy(addr->ip, addr->ip + 12, 4);
	memset(addr->ip + 4, 0, 12);
	addr->family = ADDR_IPV4;
	addr->scope = 0;
}

static enum addr_class classify_ipv4(const uint8_t ip[4])
{
	static const uint8_t ones[4] = {255, 255, 255, 255};

	if (ip[0] == 0) /* "this network", RFC 6890 */
		return ADDR_CLASS_UNSPECIFIED;
	if (memcmp(ip, ones, 4) == 0 || (ip[0] & 0xf0) == 224)
		return ADDR_CLASS_MULTICAST;
	if (ip[0] == 127)
		return ADDR_CLASS_LOOPBACK;
	if (ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168))
		return ADDR_CLASS_PRIVATE;
	if (ip[0] == 100 && (ip[1] & 0xc0) == 64)
		return ADDR_CLASS_SHARED;
	if (ip[0] == 169 && ip[1] == 254)
		return ADDR_CLASS_LINK_LOCAL;
	return ADDR_CLASS_PUBLIC;
}

static enum addr_class classify_ipv6(const uint8_t ip[16])
{
	static const uint8_t zeros[16], loopback[16] = {[15] = 1};

	if (memcmp(ip, zeros, 16) == 0)
		return ADDR_CLASS_UNSPECIFIED;
	if (memcmp(ip, loopback, 16) == 0)
		return ADDR_CLASS_LOOPBACK;
	if (ip[0] == 0xff)
		return ADDR_CLASS_MULTICAST;
	if ((ip[0] & 0xfe) == 0xfc)
		return ADDR_CLASS_PRIVATE;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
		return ADDR_CLASS_LINK_LOCAL;
	return ADDR_CLASS_PUBLIC;
}

enum addr_class addr_classify(const struct addr *addr)
{
	struct addr plain = *addr;

	addr_unmap(&plain);
	switch (plain.family) {
	case ADDR_IPV4:
		return classify_ipv4(plain.ip);
	case ADDR_IPV6:
		return classify_ipv6(plain.ip);
	default:
		return ADDR_CLASS_UNSPECIFIED;
	}
}

const char *addr_class_name(enum addr_class class)
{
	switch (class) {
	case ADDR_CLASS_PUBLIC:
		return "public";
	case ADDR_CLASS_UNSPECIFIED:
		return "unspecified";
	case ADDR_CLASS_LOOPBACK:
		return "loopback";
	case ADDR_CLASS_PRIVATE:
		return "private";
	case ADDR_CLASS_SHARED:
		return "carrier-grade NAT";
	case ADDR_CLASS_LINK_LOCAL:
		return "link-local";
	case ADDR_CLASS_MULTICAST:
		return "multicast";
	}
	return "unknown";
}

/* One number of a dotted quad: no sign, no leading zero, at most 255. Returns its end, or NULL. */
static const char *read_octet(const char *text, uint8_t *out)
{
	const char *start = text;
	unsigned value = 0;

	while (*text >= '0' && *text <= '9') {
		if (text > start && value == 0)
			return NULL;
		value = value * 10 + (unsigned)(*text++ - '0');
		if (value > 255)
			return NULL;
	}
	*out = (uint8_t)value;
	return text == start ? NULL : text;
}

/* A dotted quad that reaches to the end of the text. */
static int read_ipv4(const char *text, uint8_t out[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0 && *text++ != '.')
			return -1;
		text = read_octet(text, &out[i]);
		if (!text)
			return -1;
	}
	return *text == '\0' ? 0 : -1;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One group: one to four hexadecimal digits. Returns its end, or NULL. */
static const char *read_group(const char *text, uint8_t out[2])
{
	unsigned value = 0;
	int digits = 0;

	while (hex_value(*text) >= 0) {
		if (++digits > 4)
			return NULL;
		value = value << 4 | (unsigned)hex_value(*text++);
	}
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
	return digits == 0 ? NULL : text;
}

/* Groups read so far, and where among them the "::" stood (or -1). */
struct groups {
	uint8_t ip[16];
	int count;
	int gap;
};

/*
 * Reads groups up to the end of the text; the last two may be a dotted quad (RFC 4291 2.2, 3).
 * On success there are at most eight of them, and at most one gap.
 */
static int read_groups(const char *text, struct groups *groups)
{
	const char *end;

	if (text[0] == ':' && text[1] == ':') {
		groups->gap = 0;
		text += 2;
		if (*text == '\0')
			return 0;
	}
	while (groups->count < GROUPS) {
		if (groups->count <= GROUPS - 2 &&
			read_ipv4(text, groups->ip + 2 * groups->count) == 0) {
			groups->count += 2;
			return 0;
		}
		end = read_group(text, groups->ip + 2 * groups->count);
		if (!end)
			return -1;
		groups->count++;
		if (*end == '\0')
			return 0;
		if (*end != ':')
			return -1;
		text = end + 1;
		if (*text != ':')
			continue;
		if (groups->gap >= 0)
			return -1;
		groups->gap = groups->count;
		if (*++text == '\0')
			return 0;
	}
	return -1;
}

static int read_ipv6(const char *text, uint8_t out[16])
{
	struct groups groups = {.gap = -1};
	size_t head, tail;

	if (read_groups(text, &groups) < 0)
		return -1;
	if (groups.gap < 0) {
		if (groups.count != GROUPS)
			return -1;
		memcpy(out, groups.ip, 16);
		return 0;
	}
	if (groups.count == GROUPS)
		return -1;
	head = 2 * (size_t)groups.gap;
	tail = 2 * (size_t)(groups.count - groups.gap);
	memset(out, 0, 16);
	memcpy(out, groups.ip, head);
	memcpy(out + 16 - tail, groups.ip + head, tail);
	return 0;
}

int addr_parse_ip(struct addr *out, const char *text)
{
	struct addr addr = {.family = ADDR_IPV4};
	char copy[ADDR_IP_TEXT_SIZE];
	const char *percent;
	uint64_t scope;

	if (read_ipv4(text, addr.ip) == 0) {
		*out = addr;
		return 0;
	}
	addr = (struct addr){.family = ADDR_IPV6};
	if (strlen(text) >= sizeof(copy))
		return -1;
	memcpy(copy, text, strlen(text) + 1);
	percent = strchr(text, '%');
	if (percent) {
		copy[percent - text] = '\0';
		if (parse_number(percent + 1, 1, UINT32_MAX, &scope) < 0)
			return -1;
		addr.scope = (uint32_t)scope;
	}
	if (read_ipv6(copy, addr.ip) < 0)
		return -1;
	*out = addr;
	return 0;
}

static unsigned group_at(const uint8_t ip[16], int index)
{
	return (unsigned)(ip[2 * index] << 8 | ip[2 * index + 1]);
}

/*
 * The run of groups that "::" stands for (RFC 5952 4.2): the longest of zeros, the first of equals,
 * never a single one. Returns its length, or 0.
 */
static int find_zero_run(const uint8_t ip[16], int *first)
{
	int best = 1, length;

	*first = -1;
	for (int i = 0; i < GROUPS; i += length + 1) {
		for (length = 0; i + length < GROUPS && group_at(ip, i + length) == 0; length++)
			;
		if (length > best) {
			best = length;
			*first = i;
		}
	}
	return *first < 0 ? 0 : best;
}

static void format_ipv6(const struct addr *addr, char out[ADDR_IP_TEXT_SIZE])
{
	const uint8_t *ip = addr->ip;
	size_t used = 0;
	int first, run = find_zero_run(ip, &first);

	if (ip_is_mapped(ip)) {
		used = (size_t)snprintf(out, ADDR_IP_TEXT_SIZE, "::ffff:%u.%u.%u.%u", ip[12],
			ip[13], ip[14], ip[15]);
	} else {
		for (int i = 0; i < GROUPS; i++) {
			if (i == first) {
				used += (size_t)snprintf(
					out + used, ADDR_IP_TEXT_SIZE - used, "::");
				i += run - 1;
				continue;
			}
			used += (size_t)snprintf(out + used, ADDR_IP_TEXT_SIZE - used, "%s%x",
				i == 0 || i == first + run ? "" : ":", group_at(ip, i));
		}
	}
	if (addr->scope != 0)
		snprintf(out + used, ADDR_IP_TEXT_SIZE - used, "%%%u", (unsigned)addr->scope);
}

static void format_ipv4(const struct addr *addr, char out[ADDR_IP_TEXT_SIZE])
{
	for (size_t i = 0; i < 4; i++) {
		if (i > 0)
			*out++ = '.';
		out = text_put_decimal(out, addr->ip[i]);
	}
}

const char *addr_format_ip(const struct addr *addr, char out[ADDR_IP_TEXT_SIZE])
{
	switch (addr->family) {
	case ADDR_IPV4:
		format_ipv4(addr, out);
		break;
	case ADDR_IPV6:
		format_ipv6(addr, out);
		break;
	default:
		snprintf(out, ADDR_IP_TEXT_SIZE, "?");
	}
	return out;
}

const char *addr_format(const struct addr *addr, char out[ADDR_TEXT_SIZE])
{
	char ip[ADDR_IP_TEXT_SIZE];

	addr_format_ip(addr, ip);
	if (addr->family == ADDR_IPV6)
		snprintf(out, ADDR_TEXT_SIZE, "[%s]:%u", ip, addr->port);
	else
		snprintf(out, ADDR_TEXT_SIZE, "%s:%u", ip, addr->port);
	return out;
}

const char *addr_format_ip4p(const struct addr *addr, char out[ADDR_IP4P_SIZE])
{
	out[0] = '\0';
	if (addr->family == ADDR_IPV4)
		snprintf(out, ADDR_IP4P_SIZE, "2001::%04x:%02x%02x:%02x%02x", addr->port,
			addr->ip[0], addr->ip[1], addr->ip[2], addr->ip[3]);
	return out;
}
