/*
 * Fuzzes checks twice over: as bytes that came, made with another key if with any, of which none
 * may be taken; and as attributes to which the right key's proof is added, so that what is behind
 * the proof is reached as well.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/stun_auth.h"
#include "natpunch/proto/udp_check.h"

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 9};
static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 7};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	uint8_t answer[UDP_CHECK_SIZE];
	struct wire_writer writer;
	struct udp_check check;
	size_t proven;

	fuzz_check(udp_check_read(&check, other_secret, data, size) != 0);
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_CHECK, transaction);
	wire_write_bytes(&writer, data, size - size % 4);
	stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	proven = stun_finish(&writer);
	if (udp_check_read(&check, secret, bytes, proven) != 0)
		return 0;
	fuzz_check(!check.response && proven == UDP_CHECK_SIZE);
	fuzz_check(check.role == UDP_CHECK_INITIATOR || check.role == UDP_CHECK_HOME);
	fuzz_check(memcmp(check.transaction, transaction, sizeof(transaction)) == 0);
	fuzz_check(udp_check_write(&check, secret, answer, sizeof(answer)) == proven);
	return 0;
}
