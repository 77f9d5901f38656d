/*
 * Fuzzes what strangers send to the reflector and reflectors to a probe: stun_parse() and the walk
 * over its attributes, binding_write_answer(), binding_read_answer().
 *
 * The first byte of the input chooses the circumstances, the rest is the message.
 */
#include "natpunch/proto/binding.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static volatile unsigned touched;

static void walk(const struct stun_message *message)
{
	struct stun_attribute attribute;
	size_t offset = 0, reason_size;
	const uint8_t *reason;
	struct addr addr;
	unsigned code;

	while (stun_next(message, &offset, &attribute)) {
		for (size_t i = 0; i < attribute.size; i++)
			touched += attribute.value[i];
		fuzz_check(attribute.value + attribute.size <= message->data + message->size);
		if (stun_read_address(message, &attribute, offset % 8 == 0, &addr) == 0)
			fuzz_check(addr_ip_size(&addr) > 0);
		if (stun_read_error(&attribute, &code, &reason, &reason_size) == 0)
			fuzz_check(code >= 300 && code <= 699 && reason_size < attribute.size);
	}
}

static void answer(uint8_t choice, const uint8_t *data, size_t size)
{
	const struct binding_server server = {
		.software = choice & 1 ? "natpunch" : NULL,
		.can_forget = choice & 2,
		.stream = choice & 4,
	};
	const struct addr source = {
		.family = choice & 8 ? ADDR_IPV4 : ADDR_IPV6, .ip = {192, 0, 2, 1}, .port = 32853};
	struct binding_request granted;
	struct stun_message message;
	enum binding_verdict verdict;
	uint8_t *out = malloc(STUN_MESSAGE_MAX);
	size_t written;

	fuzz_check(out != NULL);
	verdict = binding_write_answer(
		&server, &source, data, size, out, STUN_MESSAGE_MAX, &written, &granted);
	fuzz_check((verdict == BINDING_ANSWERED) == (written > 0));
	fuzz_check((verdict == BINDING_BROKEN) == (stun_parse(&message, data, size) < 0));
	if (written > 0) {
		fuzz_check(message.class == STUN_REQUEST);
		fuzz_check(server.stream || written <= size + 8 + addr_ip_size(&source));
		fuzz_check(stun_parse(&message, out, written) == 0);
		fuzz_check(memcmp(out + 4, data + 4, STUN_TRANSACTION_SIZE) == 0);
	}
	free(out);
}

static void read_answer(uint8_t choice, const uint8_t *data, size_t size)
{
	struct binding_request request = {
		.mode = (enum binding_mode)(choice & 3), .seconds = choice};
	enum addr_family transport = choice & 8 ? ADDR_IPV4 : ADDR_IPV6;
	struct binding_answer read;
	enum binding_outcome outcome;
	const char *why = NULL;

	/* Most often the transaction that the message has, or nothing would be read. */
	if (size >= STUN_HEADER_SIZE && !(choice & 16))
		memcpy(request.transaction, data + 4, STUN_TRANSACTION_SIZE);
	outcome = binding_read_answer(&request, transport, data, size, &read, &why);
	fuzz_check((why == NULL) == (outcome == BINDING_MAPPED || outcome == BINDING_REFUSED));
	fuzz_check((read.mapped.family != ADDR_NONE) == (outcome == BINDING_MAPPED));
	fuzz_check(memchr(read.reason, '\0', sizeof(read.reason)) != NULL);
	if (outcome == BINDING_MAPPED) {
		fuzz_check(memcmp(request.transaction, data + 4, STUN_TRANSACTION_SIZE) == 0);
		fuzz_check(transport == ADDR_IPV6 || read.mapped.family == ADDR_IPV4);
		fuzz_check(read.mapped.port != 0);
		fuzz_check(read.mode == BINDING_MODE_NONE || read.mode == BINDING_MODE_CLOSE ||
			   read.mode == request.mode);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stun_message message;

	if (size < 1)
		return 0;
	if (stun_parse(&message, data + 1, size - 1) == 0)
		walk(&message);
	answer(data[0], data + 1, size - 1);
	read_answer(data[0], data + 1, size - 1);
	return 0;
}
