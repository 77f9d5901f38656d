/*
 * nat64 - translates between an IPv6 host and IPv4 (RFC 7915), in a TUN device of this network
 * namespace, as the kernel has no such thing.
 *
 *     nat64 DEV ADDR
 *
 * What comes to 64:ff9b::/96 leaves as IPv4 from ADDR, and what comes to ADDR as IPv6 to the host
 * that sent last; there is one. Ports stay as they are: the router's own NAT changes them, which
 * makes it a NAT64. Packets of TCP and UDP, whole and without options of IP; no others pass. Prints
 * "ready" when the device is there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	PACKET_MAX = 2048,
	SIZE4 = 20,
	SIZE6 = 40,
	TCP = 6,
	UDP = 17,
	PREFIX_SIZE = 12,
};

static const uint8_t prefix[PREFIX_SIZE] = {0x00, 0x64, 0xff, 0x9b};

struct translator {
	int tun;
	uint8_t outer[4];  /* what the host is known as */
	uint8_t inner[16]; /* the host */
};

static void put16(uint8_t *out, size_t value)
{
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
}

/* RFC 1071, of one more piece; every piece but the last has an even size. */
static uint32_t sum(uint32_t before, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		before += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	return before;
}

static uint16_t fold(uint32_t value)
{
	while (value >> 16 != 0)
		value = (value & 0xffff) + (value >> 16);
	return (uint16_t)~value;
}

/* The checksum of a TCP segment or UDP datagram between two addresses, which stand side by side. */
static bool renew_checksum(
	uint8_t protocol, const uint8_t *addresses, size_t size, uint8_t *data, size_t data_size)
{
	size_t at = protocol == TCP ? 16 : 6;

	if (data_size < at + 2)
		return false;
	put16(data + at, 0);
	put16(data + at,
		fold(sum(sum((uint32_t)(protocol + data_size), addresses, size), data, data_size)));
	return true;
}

/* Each returns the size of what is to be sent, or 0 for nothing. */
static size_t to_ipv4(struct translator *nat, const uint8_t *in, size_t size, uint8_t *out)
{
	uint8_t protocol = in[6];
	size_t data_size = size > SIZE6 ? size - SIZE6 : 0;

	if (size < SIZE6 || (protocol != TCP && protocol != UDP) ||
		memcmp(in + 24, prefix, sizeof(prefix)) != 0)
		return 0;
	memcpy(nat->inner, in + 8, sizeof(nat->inner));
	memset(out, 0, SIZE4);
	out[0] = 0x45;
	put16(out + 2, SIZE4 + data_size);
	out[6] = 0x40; /* it is not to be divided */
	out[8] = in[7];
	out[9] = protocol;
	memcpy(out + 12, nat->outer, sizeof(nat->outer));
	memcpy(out + 16, in + 36, 4);
	put16(out + 10, fold(sum(0, out, SIZE4)));
	memcpy(out + SIZE4, in + SIZE6, data_size);
	return renew_checksum(protocol, out + 12, 8, out + SIZE4, data_size) ? SIZE4 + data_size
									     : 0;
}

static size_t to_ipv6(const struct translator *nat, const uint8_t *in, size_t size, uint8_t *out)
{
	uint8_t protocol = in[9];
	size_t data_size = size > SIZE4 ? size - SIZE4 : 0;

	if (size < SIZE4 || in[0] != 0x45 || (protocol != TCP && protocol != UDP) ||
		memcmp(in + 16, nat->outer, sizeof(nat->outer)) != 0)
		return 0;
	memset(out, 0, SIZE6);
	out[0] = 0x60;
	put16(out + 4, data_size);
	out[6] = protocol;
	out[7] = in[8];
	memcpy(out + 8, prefix, sizeof(prefix));
	memcpy(out + 20, in + 12, 4);
	memcpy(out + 24, nat->inner, sizeof(nat->inner));
	memcpy(out + SIZE6, in + SIZE4, data_size);
	return renew_checksum(protocol, out + 8, 32, out + SIZE6, data_size) ? SIZE6 + data_size
									     : 0;
}

/* Returns false when the device is gone. */
static bool translate_one(struct translator *nat)
{
	uint8_t in[PACKET_MAX], out[PACKET_MAX + SIZE6];
	ssize_t got = read(nat->tun, in, sizeof(in));
	size_t size = 0;

	if (got <= 0)
		return got < 0 && errno == EINTR;
	if (in[0] >> 4 == 6)
		size = to_ipv4(nat, in, (size_t)got, out);
	else if (in[0] >> 4 == 4)
		size = to_ipv6(nat, in, (size_t)got, out);
	/* A device that is down loses it. */
	if (size > 0 && write(nat->tun, out, size) < 0 && errno != EIO && errno != EINVAL)
		return false;
	return true;
}

int main(int argc, char **argv)
{
	struct translator nat = {.tun = -1};
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};

	if (argc != 3 || inet_pton(AF_INET, argv[2], nat.outer) != 1) {
		fprintf(stderr, "usage: nat64 DEV ADDR\n");
		return 2;
	}
	nat.tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", argv[1]);
	if (nat.tun < 0 || ioctl(nat.tun, TUNSETIFF, &request) < 0) {
		perror(argv[1]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (translate_one(&nat))
		;
	perror(argv[1]);
	return 1;
}
