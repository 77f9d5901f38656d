/* The ticket, the invitation that it comes with, the JOIN and its answers, as bytes. */
#include "natpunch/proto/relay_messages.h"

#include "natpunch/proto/invitation.h"
#include "natpunch/proto/stun_auth.h"
#include "tap.h"

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 9};
static const uint8_t random_bytes[12] = {0x10, 0x20, 0x30};
static const uint8_t salt[STUN_AUTH_SALT_SIZE] = {0x55};
static const struct relay_ticket ticket = {
	.number = 0x0000000500000009, .token = "sixteen bytes of"};

struct message {
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;
};

static struct invitation make_invitation(uint32_t number)
{
	struct invitation invitation = {
		.number = number, .kind = INVITATION_RELAY, .ticket = ticket};

	if (addr_parse_ip(&invitation.initiator, "192.0.2.2") != 0)
		bail_out("address");
	invitation.initiator.port = 40000;
	return invitation;
}

static struct message write_invitation(const struct invitation *invitation)
{
	struct message message;

	message.size = invitation_write(
		invitation, secret, random_bytes, salt, message.bytes, INVITATION_SIZE_MAX);
	return message;
}

static void test_invitation(void)
{
	struct invitation sent = make_invitation(1), expected = {.number = 0};
	struct message message = write_invitation(&sent);
	struct message plain;

	ok(message.size > 0, "an invitation with a ticket fits");
	is_int(invitation_read(&expected, secret, message.bytes, message.size), 0, "it is taken");
	is_int(expected.kind, INVITATION_RELAY, "as one to a relay");
	ok(expected.ticket.number == ticket.number, "with its number");
	is_mem(expected.ticket.token, ticket.token, RELAY_TOKEN_SIZE, "and its token");
	is_int(invitation_read(&expected, secret, message.bytes, message.size), -1, "once");
	ok(memmem(message.bytes, message.size, ticket.token, 4) == NULL,
		"who sees it does not see the token");
	sent.kind = INVITATION_PUNCH;
	sent.number = 2;
	plain = write_invitation(&sent);
	is_int(invitation_read(&expected, secret, plain.bytes, plain.size), 0, "a plain one");
	is_int(expected.kind, INVITATION_PUNCH, "is none to a relay");
	ok(expected.ticket.number == 0, "and the ticket of the one before is gone");
}

/* Whoever changes an invitation makes it none, also into a plain one. */
static void test_invitation_changed(void)
{
	struct invitation sent = make_invitation(1);
	struct message message = write_invitation(&sent);
	unsigned taken = 0;

	for (size_t bit = 0; bit < 8 * message.size; bit++) {
		struct invitation expected = {.number = 0};

		message.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		taken += invitation_read(&expected, secret, message.bytes, message.size) == 0;
		message.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	is_uint(taken, 0, "no flipped bit is taken");
}

/* Attributes to which the right key's proof is added: a ticket must be one. */
static int read_with_ticket(const void *value, size_t size)
{
	struct name_message_record record = {.protocol = MAPPING_TCP};
	struct invitation expected = {.number = 0};
	uint8_t head[INVITATION_SESSION_SIZE + 4] = {[INVITATION_SESSION_SIZE + 3] = 1};
	uint8_t transaction[STUN_TRANSACTION_SIZE], bytes[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	record.addr = make_invitation(1).initiator;
	stun_make_transaction(transaction, random_bytes);
	stun_begin(&writer, bytes, sizeof(bytes), STUN_INDICATION, STUN_METHOD_INVITE, transaction);
	stun_put(&writer, STUN_NATPUNCH_INVITATION, head, sizeof(head));
	name_message_put_record(&writer, &record, secret, salt);
	if (size > 0)
		stun_put(&writer, STUN_NATPUNCH_TICKET, value, size);
	else
		relay_message_put_ticket(&writer, value, secret, salt);
	stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
	stun_put_fingerprint(&writer);
	return invitation_read(&expected, secret, bytes, stun_finish(&writer));
}

static void test_ticket(void)
{
	static const uint8_t zeros[36];
	struct relay_ticket none = ticket;

	none.number = 0;
	is_int(read_with_ticket(&ticket, 0), 0, "a ticket in an invitation");
	is_int(read_with_ticket(zeros, 28), -1, "one that is too short");
	is_int(read_with_ticket(zeros, 36), -1, "too long");
	is_int(read_with_ticket(&none, 0), -1, "number 0");
}

static struct message write_join(uint8_t transaction[STUN_TRANSACTION_SIZE])
{
	struct message message;

	message.size = relay_message_write_join(
		&ticket, random_bytes, transaction, message.bytes, sizeof(message.bytes));
	return message;
}

/* What the reflector makes of it: 0 and proven, or not. */
static bool is_taken(const struct message *message)
{
	struct stun_message parsed;
	uint64_t number;

	return stun_parse(&parsed, message->bytes, message->size) == 0 &&
	       relay_message_read_join(&parsed, &number) == 0 && number == ticket.number &&
	       stun_auth_check(&parsed, ticket.token, RELAY_TOKEN_SIZE) == STUN_AUTH_VALID;
}

static void test_join(void)
{
	uint8_t transaction[STUN_TRANSACTION_SIZE];
	struct message join = write_join(transaction);
	struct stun_message parsed;
	unsigned taken = 0;
	uint64_t number;

	ok(is_taken(&join), "a JOIN is one");
	for (size_t bit = 0; bit < 8 * join.size; bit++) {
		join.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		taken += is_taken(&join);
		join.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	is_uint(taken, 0, "no flipped bit is taken");
	ok(memmem(join.bytes, join.size, ticket.token, 4) == NULL, "it does not tell the token");
	for (size_t room = 0; room < join.size; room++) {
		uint8_t out[STUN_MESSAGE_MAX];
		taken += relay_message_write_join(&ticket, random_bytes, transaction, out, room) !=
			 0;
	}
	is_uint(taken, 0, "in less room nothing is written");
	join.size = relay_message_write_error(
		STUN_METHOD_RELAY, transaction, RELAY_MESSAGE_FULL, join.bytes, sizeof(join.bytes));
	ok(stun_parse(&parsed, join.bytes, join.size) == 0 &&
			relay_message_read_join(&parsed, &number) == 1,
		"an answer to RELAY is no JOIN");
	join.size = relay_message_write_error(
		STUN_METHOD_JOIN, transaction, RELAY_MESSAGE_FULL, join.bytes, sizeof(join.bytes));
	ok(stun_parse(&parsed, join.bytes, join.size) == 0 &&
			relay_message_read_join(&parsed, &number) == -1,
		"an answer to a JOIN is none either");
}

/* A JOIN of attributes that are as they should not be, with the right proof. */
static int read_odd_join(uint16_t type, size_t size, uint16_t second)
{
	static const uint8_t value[16] = {0, 0, 0, 5, 0, 0, 0, 9};
	uint8_t transaction[STUN_TRANSACTION_SIZE], bytes[STUN_MESSAGE_MAX];
	struct stun_message parsed;
	struct wire_writer writer;
	uint64_t number;

	stun_make_transaction(transaction, random_bytes);
	stun_begin(&writer, bytes, sizeof(bytes), STUN_REQUEST, STUN_METHOD_JOIN, transaction);
	stun_put(&writer, type, value, size);
	if (second != 0)
		stun_put(&writer, second, value, 8);
	stun_auth_put(&writer, ticket.token, RELAY_TOKEN_SIZE);
	if (stun_parse(&parsed, bytes, stun_finish(&writer)) != 0)
		bail_out("a message that is none");
	return relay_message_read_join(&parsed, &number);
}

static void test_odd_joins(void)
{
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 8, 0), 0, "a plain JOIN");
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 8, 0xC6FF), 0, "with what may be passed over");
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 8, 0x7FFF), -1, "with what may not");
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 8, STUN_NATPUNCH_JOIN), -1, "with two numbers");
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 4, 0), -1, "with half a number");
	is_int(read_odd_join(STUN_NATPUNCH_JOIN, 12, 0), -1, "with more than one");
	is_int(read_odd_join(STUN_NATPUNCH_TICKET, 8, 0), -1, "with none");
}

static void test_answers(void)
{
	uint8_t transaction[STUN_TRANSACTION_SIZE], other[STUN_TRANSACTION_SIZE] = {0};
	struct message join = write_join(transaction), yes, no;
	struct relay_ticket wrong = ticket;
	struct stun_message parsed;
	unsigned code = 0, taken = 0;

	wrong.token[0] ^= 1;
	if (stun_parse(&parsed, join.bytes, join.size) != 0)
		bail_out("not parsed");
	yes.size = relay_message_write_joined(&parsed, ticket.token, yes.bytes, sizeof(yes.bytes));
	is_int(relay_message_read_answer(&ticket, transaction, yes.bytes, yes.size, &code),
		RELAY_MESSAGE_JOINED, "joined");
	is_int(relay_message_read_answer(&wrong, transaction, yes.bytes, yes.size, &code),
		RELAY_MESSAGE_MALFORMED, "not by who does not know the token");
	is_int(relay_message_read_answer(&ticket, other, yes.bytes, yes.size, &code),
		RELAY_MESSAGE_MALFORMED, "nor by the answer to another");
	is_int(relay_message_read_answer(&ticket, transaction, join.bytes, join.size, &code),
		RELAY_MESSAGE_MALFORMED, "nor by the request itself");
	for (size_t bit = 0; bit < 8 * yes.size; bit++) {
		yes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		taken += relay_message_read_answer(&ticket, transaction, yes.bytes, yes.size,
				 &code) == RELAY_MESSAGE_JOINED;
		yes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	is_uint(taken, 0, "no flipped bit is taken");
	no.size = relay_message_write_error(
		STUN_METHOD_JOIN, transaction, RELAY_MESSAGE_UNPROVEN, no.bytes, sizeof(no.bytes));
	is_int(relay_message_read_answer(&ticket, transaction, no.bytes, no.size, &code),
		RELAY_MESSAGE_REFUSED, "refused");
	is_uint(code, RELAY_MESSAGE_UNPROVEN, "and why");
	for (size_t size = 0; size < yes.size; size++)
		taken += relay_message_read_answer(&ticket, transaction, yes.bytes, size, &code) !=
			 RELAY_MESSAGE_MALFORMED;
	is_uint(taken, 0, "half an answer is none");
}

static void test_other_key(void)
{
	struct invitation sent = make_invitation(1);
	struct message message = write_invitation(&sent);
	struct stun_attribute attribute;
	struct stun_message parsed;
	struct relay_ticket read;

	ok(stun_parse(&parsed, message.bytes, message.size) == 0 &&
			stun_find(&parsed, STUN_NATPUNCH_TICKET, &attribute) &&
			relay_message_read_ticket(&parsed, &attribute, other_secret, &read) == 0 &&
			memcmp(read.token, ticket.token, RELAY_TOKEN_SIZE) != 0,
		"another key opens it to another token");
}

int main(void)
{
	test_invitation();
	test_invitation_changed();
	test_ticket();
	test_other_key();
	test_join();
	test_odd_joins();
	test_answers();
	return done_testing();
}
