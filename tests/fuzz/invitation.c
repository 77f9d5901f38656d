/*
 * Fuzzes invitations and predictions twice over: as bytes that came, made with another key if with
 * any, of which none may be taken; and as attributes to which the right key's proof is added, so
 * that what is behind the proof is reached as well.
 */
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/invitation.h"
#include "natpunch/proto/stun_auth.h"

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 9};
static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 7};

static size_t prove(
	uint16_t method, const uint8_t *data, size_t size, uint8_t *out, size_t capacity)
{
	struct wire_writer writer;

	stun_begin(&writer, out, capacity, STUN_INDICATION, method, transaction);
	wire_write_bytes(&writer, data, size - size % 4);
	stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	return stun_finish(&writer);
}

static void check_prediction(const struct port_prediction *prediction)
{
	uint16_t ports[PORT_PREDICTION_CANDIDATES];
	size_t count = port_prediction_candidates(prediction, ports);

	fuzz_check(count <= PORT_PREDICTION_CANDIDATES && (count == 0) == (prediction->port == 0));
	for (size_t i = 0; i < count; i++)
		fuzz_check(ports[i] != 0);
}

static void fuzz_prediction(const uint8_t *data, size_t size)
{
	static const uint8_t connect[INVITATION_SESSION_SIZE] = {0};
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct port_prediction prediction;
	int result = invitation_read_prediction(other_secret, connect, data, size, &prediction);

	fuzz_check(result != 0 && prediction.port == 0);
	result = invitation_read_prediction(secret, connect, bytes,
		prove(STUN_METHOD_PREDICTION, data, size, bytes, sizeof(bytes)), &prediction);
	fuzz_check(result == 0 || prediction.port == 0);
	check_prediction(&prediction);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct invitation expected = {.number = 0};
	uint8_t bytes[STUN_MESSAGE_MAX];
	int result = invitation_read(&expected, other_secret, data, size);

	fuzz_check(result == 1 || result == -1);
	fuzz_check(expected.number == 0 && expected.initiator.family == ADDR_NONE);
	result = invitation_read(&expected, secret, bytes,
		prove(STUN_METHOD_INVITE, data, size, bytes, sizeof(bytes)));
	fuzz_check(result == 0 || (expected.number == 0 && expected.initiator.family == ADDR_NONE));
	fuzz_check(result != 0 || expected.number > 0);
	fuzz_check(result != 0 || expected.initiator.family == ADDR_IPV4 ||
		   expected.initiator.family == ADDR_IPV6);
	check_prediction(&expected.prediction);
	fuzz_prediction(data, size);
	return 0;
}
