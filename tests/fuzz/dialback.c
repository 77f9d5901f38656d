/*
 * Fuzzes what strangers send to have a reflector dial, and reflectors in return:
 * dialback_read_request(), dialback_read_answer(), dialback_format_banner(); and the attributes of
 * RFC 5780 in binding_write_answer(), which decide where a datagram goes.
 *
 * The first byte of the input chooses the circumstances, the rest is the message.
 */
#include "natpunch/proto/dialback.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "natpunch/proto/binding.h"

static void read_request(const uint8_t *data, size_t size)
{
	struct dialback_request request;
	struct stun_message message, refusal;
	uint8_t *error = malloc(DIALBACK_ANSWER_MAX);
	size_t written;

	fuzz_check(error != NULL);
	if (stun_parse(&message, data, size) == 0) {
		int result = dialback_read_request(
			&message, &request, error, DIALBACK_ANSWER_MAX, &written);

		fuzz_check((result == 0) == (written == 0));
		fuzz_check(result != 0 || (request.places >= 1 && request.places <= 3));
		fuzz_check(result == 0 || (stun_parse(&refusal, error, written) == 0 &&
						  refusal.class == STUN_ERROR));
	}
	free(error);
}

static void check_result(const struct dialback_result *result)
{
	char text[4 * DIALBACK_BANNER_MAX + 1];

	fuzz_check(result->banner_size <= DIALBACK_BANNER_MAX);
	fuzz_check(strcmp(dialback_outcome_name(result->outcome), "?") != 0);
	dialback_format_banner(result, text, sizeof(text));
	for (const char *at = text; *at != '\0'; at++)
		fuzz_check(*at >= 0x20 && *at <= 0x7e);
}

static void read_answer(uint8_t choice, const uint8_t *data, size_t size)
{
	struct dialback_request request = {.places = (uint8_t)(choice % 3 + 1)};
	struct dialback_answer answer, again;
	uint8_t bytes[DIALBACK_ANSWER_MAX];
	enum dialback_reply reply;
	const char *why;

	if (size >= STUN_HEADER_SIZE && !(choice & 16))
		memcpy(request.transaction, data + 4, STUN_TRANSACTION_SIZE);
	reply = dialback_read_answer(&request, data, size, &answer, &why);
	fuzz_check((why == NULL) == (reply == DIALBACK_ANSWERED || reply == DIALBACK_REFUSAL));
	fuzz_check((reply == DIALBACK_ANSWERED) == (answer.count > 0));
	if (reply != DIALBACK_ANSWERED)
		return;
	fuzz_check(answer.count == (request.places == 3 ? 2 : 1));
	for (size_t i = 0; i < answer.count; i++)
		check_result(&answer.results[i]);
	size = dialback_write_answer(request.transaction, &answer, bytes, sizeof(bytes));
	fuzz_check(size > 0 &&
		   dialback_read_answer(&request, bytes, size, &again, &why) == DIALBACK_ANSWERED);
	fuzz_check(again.count == answer.count && addr_equal(&again.target, &answer.target));
}

static void answer_wishes(uint8_t choice, const uint8_t *data, size_t size)
{
	const struct binding_places places = {
		.at = {
			{.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3478},
			{.family = ADDR_IPV4, .ip = {198, 51, 100, 1}, .port = 3479},
			{.family = ADDR_IPV4, .ip = {198, 51, 100, 2}, .port = 3478},
			{.family = ADDR_IPV4, .ip = {198, 51, 100, 2}, .port = 3479},
		}};
	const struct binding_server server = {.places = &places, .stream = choice & 4};
	const struct addr source = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 32853};
	uint8_t *out = malloc(STUN_DATAGRAM_MAX);
	struct binding_request granted;
	struct stun_message message;
	size_t written;

	fuzz_check(out != NULL);
	binding_write_answer(
		&server, &source, data, size, out, STUN_DATAGRAM_MAX, &written, &granted);
	if (written > 0) {
		fuzz_check(stun_parse(&message, out, written) == 0);
		fuzz_check(server.stream || written <= size + 48);
		if (message.class == STUN_ERROR || server.stream)
			fuzz_check(!granted.change_ip && !granted.change_port &&
				   granted.response_port == 0 && granted.padding == 0);
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	read_request(data + 1, size - 1);
	read_answer(data[0], data + 1, size - 1);
	answer_wishes(data[0], data + 1, size - 1);
	return 0;
}
