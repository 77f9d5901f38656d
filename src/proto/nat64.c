#include "natpunch/proto/nat64.h"

#include <string.h>

#define IPV4_SIZE   4
#define UNUSED      8 /* the octet that is zero in every form but /96, where the prefix has it */
#define WHOLE_BYTES 8 /* bits */
#define LONGEST     96

static const uint8_t lengths[] = {32, 40, 48, 56, 64, LONGEST};
#define LENGTH_COUNT (sizeof(lengths) / sizeof(lengths[0]))

/* Where octet `index` of the IPv4 address stands. */
static size_t place_of(uint8_t length, size_t index)
{
	size_t at = length / WHOLE_BYTES + index;

	return length < LONGEST && at >= UNUSED ? at + 1 : at;
}

/* The IPv4 address that an address of this form has in it. */
static void extract(uint8_t length, const uint8_t ip[16], uint8_t out[IPV4_SIZE])
{
	for (size_t i = 0; i < IPV4_SIZE; i++)
		out[i] = ip[place_of(length, i)];
}

static bool is_of_name(uint8_t length, const uint8_t ip[16])
{
	static const uint8_t known[][IPV4_SIZE] = {{192, 0, 0, 170}, {192, 0, 0, 171}};
	uint8_t found[IPV4_SIZE];

	if (length < LONGEST && ip[UNUSED] != 0)
		return false;
	extract(length, ip, found);
	return memcmp(found, known[0], IPV4_SIZE) == 0 || memcmp(found, known[1], IPV4_SIZE) == 0;
}

bool nat64_find_prefix(const struct addr *answers, size_t count, struct nat64_prefix *out)
{
	for (size_t i = 0; i < count; i++) {
		const struct addr *answer = &answers[i];
		size_t fits = 0;

		*out = (struct nat64_prefix){.length = 0};
		for (size_t n = 0; n < LENGTH_COUNT && answer->family == ADDR_IPV6; n++)
			if (is_of_name(lengths[n], answer->ip)) {
				out->length = lengths[n];
				fits++;
			}
		if (fits != 1)
			continue;
		memcpy(out->ip, answer->ip, out->length / WHOLE_BYTES);
		return true;
	}
	*out = (struct nat64_prefix){.length = 0};
	return false;
}

static bool is_of_all_networks(const struct nat64_prefix *prefix)
{
	static const uint8_t well_known[12] = {0x00, 0x64, 0xff, 0x9b};

	return prefix->length == LONGEST && memcmp(prefix->ip, well_known, 12) == 0;
}

bool nat64_map(const struct nat64_prefix *prefix, const struct addr *ipv4, struct addr *out)
{
	struct addr mapped = {.family = ADDR_IPV6, .port = ipv4->port};

	if (prefix->length == 0 || ipv4->family != ADDR_IPV4 ||
		(is_of_all_networks(prefix) && addr_classify(ipv4) != ADDR_CLASS_PUBLIC))
		return false;
	memcpy(mapped.ip, prefix->ip, prefix->length / WHOLE_BYTES);
	for (size_t i = 0; i < IPV4_SIZE; i++)
		mapped.ip[place_of(prefix->length, i)] = ipv4->ip[i];
	*out = mapped;
	return true;
}

bool nat64_unmap(const struct nat64_prefix *prefix, const struct addr *ipv6, struct addr *out)
{
	struct addr plain = {.family = ADDR_IPV4, .port = ipv6->port};

	if (prefix->length == 0 || ipv6->family != ADDR_IPV6 ||
		memcmp(prefix->ip, ipv6->ip, prefix->length / WHOLE_BYTES) != 0)
		return false;
	extract(prefix->length, ipv6->ip, plain.ip);
	*out = plain;
	return true;
}
