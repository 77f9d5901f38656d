/*
 * Fuzzes what a reflector and a home hear at a relay: JOINs and the answers to them, as bytes that
 * came, and as attributes to which the right token's proof is added.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/relay_messages.h"
#include "natpunch/proto/stun_auth.h"

static const struct relay_ticket ticket = {
	.number = 0x0000000500000009, .token = "sixteen bytes of"};
static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 7};

static size_t prove(enum stun_class class, const uint8_t *data, size_t size, uint8_t *out)
{
	struct wire_writer writer;

	stun_begin(&writer, out, STUN_MESSAGE_MAX, class, STUN_METHOD_JOIN, transaction);
	wire_write_bytes(&writer, data, size - size % 4);
	stun_auth_put(&writer, ticket.token, RELAY_TOKEN_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static void hear(const uint8_t *data, size_t size)
{
	uint8_t out[STUN_MESSAGE_MAX];
	struct stun_message message;
	uint64_t number;
	int result;

	if (stun_parse(&message, data, size) < 0)
		return;
	result = relay_message_read_join(&message, &number);
	fuzz_check(result >= -1 && result <= 1);
	fuzz_check(result != 0 || number != 0);
	fuzz_check(result != 0 ||
		   relay_message_write_joined(&message, ticket.token, out, sizeof(out)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	unsigned code = 0;

	hear(data, size);
	hear(bytes, prove(STUN_REQUEST, data, size, bytes));
	fuzz_check(relay_message_read_answer(&ticket, transaction, data, size, &code) !=
		   RELAY_MESSAGE_JOINED);
	fuzz_check(code == 0 || (code >= 300 && code <= 699));
	relay_message_read_answer(
		&ticket, transaction, bytes, prove(STUN_SUCCESS, data, size, bytes), &code);
	return 0;
}
