/* Invitations: what was written comes back, and nothing that anybody changed, kept or made up. */
#include "natpunch/proto/invitation.h"

#include "natpunch/proto/stun_auth.h"
#include "tap.h"

static const uint8_t secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_secret[KEY_SECRET_SIZE] = {1, 2, 3, 4, 5, 6, 7, 9};
static const uint8_t random_bytes[12] = {0x10, 0x20, 0x30};
static const uint8_t salt[NAME_MESSAGE_SALT_SIZE] = {0x55};
static const uint8_t session[INVITATION_SESSION_SIZE] = "a session: 1";

struct message {
	uint8_t bytes[INVITATION_SIZE_MAX];
	size_t size;
};

static struct invitation make(const char *ip, uint16_t port, uint32_t number)
{
	struct invitation invitation = {.number = number};

	memcpy(invitation.session, session, sizeof(session));
	if (addr_parse_ip(&invitation.initiator, ip) != 0)
		bail_out("%s", ip);
	invitation.initiator.port = port;
	return invitation;
}

static struct message write_it(const struct invitation *invitation)
{
	struct message message;

	message.size = invitation_write(
		invitation, secret, random_bytes, salt, message.bytes, sizeof(message.bytes));
	return message;
}

/* What a home expects that has taken invitations up to `number`. */
static struct invitation expect(uint32_t number)
{
	struct invitation expected = {.number = number};

	memcpy(expected.session, session, sizeof(session));
	return expected;
}

static int take(struct invitation *expected, const struct message *message)
{
	return invitation_read(expected, secret, message->bytes, message->size);
}

static void test_round_trip(void)
{
	static const char *const ips[] = {"192.0.2.2", "2001:db8:2:1::2"};

	for (size_t i = 0; i < 2; i++) {
		struct invitation sent = make(ips[i], 40000, 1);
		struct invitation expected = expect(0);
		struct message message = write_it(&sent);

		ok(message.size > 0 && message.size <= INVITATION_SIZE_MAX, "%s: written", ips[i]);
		is_int(take(&expected, &message), 0, "%s: taken", ips[i]);
		is_int(expected.number, 1, "%s: its number", ips[i]);
		ok(addr_equal(&expected.initiator, &sent.initiator), "%s: its address", ips[i]);
	}
}

/* Over UDP: for who keeps a UDP port, and nobody else. */
static void test_protocol(void)
{
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct invitation tcp = expect(0), udp = expect(0);
	struct message message = write_it(&sent);

	udp.protocol = MAPPING_UDP;
	is_int(take(&udp, &message), -1, "one over TCP is none for a UDP port");
	sent.protocol = MAPPING_UDP;
	message = write_it(&sent);
	is_int(take(&tcp, &message), -1, "one over UDP is none for a TCP port");
	is_int(take(&udp, &message), 0, "it is for a UDP port");
	is_int(udp.protocol, MAPPING_UDP, "and says so");
	is_int(take(&udp, &message), -1, "once");
	sent.number = 2;
	sent.kind = INVITATION_PREDICTION;
	sent.prediction.port = 40001;
	message = write_it(&sent);
	is_int(take(&udp, &message), -1, "nothing is predicted over UDP");
}

static void test_hidden(void)
{
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct message message = write_it(&sent);
	static const uint8_t ip[] = {192, 0, 2, 2};

	ok(memmem(message.bytes, message.size, ip, sizeof(ip)) == NULL,
		"who is on the way cannot be read on the path");
}

static void test_capacity(void)
{
	struct invitation sent = make("2001:db8::1", 1, 1);
	struct message message = write_it(&sent);
	uint8_t out[INVITATION_SIZE_MAX];
	bool all = true;

	for (size_t capacity = 0; capacity < message.size; capacity++)
		if (invitation_write(&sent, secret, random_bytes, salt, out, capacity) != 0)
			all = false;
	ok(all, "in less room than it needs, nothing is written");
	is_uint(invitation_write(&sent, secret, random_bytes, salt, out, message.size),
		message.size, "in just enough, all of it");
}

static void test_replay(void)
{
	struct invitation expected = expect(0);
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct message first = write_it(&sent);
	struct message second;
	struct message third;

	sent = make("192.0.2.3", 40000, 2);
	second = write_it(&sent);
	sent = make("192.0.2.4", 40000, 3);
	third = write_it(&sent);
	is_int(take(&expected, &first), 0, "the first is taken");
	is_int(take(&expected, &first), -1, "and not twice");
	is_int(take(&expected, &third), 0, "a later one is taken, though one between was lost");
	is_int(take(&expected, &second), -1, "and the one between not after it");
	is_int(take(&expected, &third), -1, "nor the later one twice");
	is_int(expected.number, 3, "what was refused changed nothing");
	is_int(expected.initiator.ip[3], 4, "nor did it change the address");
}

static void test_last_number(void)
{
	struct invitation expected = expect(UINT32_MAX);
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct message message = write_it(&sent);

	is_int(take(&expected, &message), -1, "after the last number there is none: no way round");
	sent.number = 0;
	message = write_it(&sent);
	expected = expect(0);
	is_int(take(&expected, &message), -1, "the number 0 is none");
}

static void test_other_session(void)
{
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct message message = write_it(&sent);

	for (size_t i = 0; i < INVITATION_SESSION_SIZE; i++) {
		struct invitation expected = expect(0);
		expected.session[i] ^= 1;
		is_int(take(&expected, &message), -1, "another registration's, byte %zu", i);
		ok(expected.initiator.family == ADDR_NONE, "it leaves no address");
	}
}

static void test_other_key(void)
{
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct invitation expected = expect(0);
	struct message message = write_it(&sent);

	is_int(invitation_read(&expected, other_secret, message.bytes, message.size), -1,
		"made with another name's key");
	ok(expected.number == 0 && expected.initiator.family == ADDR_NONE, "it changes nothing");
}

/* Each bit of each byte; what is no invitation any more is not taken for one either. */
static void test_mutations(void)
{
	struct invitation sent = make("192.0.2.2", 40000, 1);
	struct message message = write_it(&sent);
	size_t taken = 0;
	size_t changed = 0;

	for (size_t bit = 0; bit < message.size * 8; bit++) {
		struct invitation expected = expect(0);
		struct message other = message;

		other.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (take(&expected, &other) == 0)
			taken++;
		if (expected.number != 0 || expected.initiator.family != ADDR_NONE)
			changed++;
	}
	is_uint(taken, 0, "of %zu changes of a bit none is taken", message.size * 8);
	is_uint(changed, 0, "and none leaves anything behind");
}

static void test_truncations(void)
{
	struct invitation sent = make("2001:db8::1", 40000, 1);
	struct message message = write_it(&sent);
	size_t taken = 0;

	for (size_t size = 0; size < message.size; size++) {
		struct invitation expected = expect(0);
		uint8_t *exact = malloc(size > 0 ? size : 1); /* a sanitizer sees a read beyond */

		memcpy(exact, message.bytes, size);
		if (invitation_read(&expected, secret, exact, size) == 0)
			taken++;
		free(exact);
	}
	is_uint(taken, 0, "cut anywhere it is not taken");
}

/* A message under the right key that lacks a part, or has another one's. */
static void test_parts(void)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 7};
	struct name_message_record record = {.protocol = MAPPING_UDP};
	struct invitation sent = make("192.0.2.2", 40000, 1);
	uint8_t value[INVITATION_SESSION_SIZE + 5] = {0};

	memcpy(value, session, sizeof(session));
	value[INVITATION_SESSION_SIZE + 3] = 1;
	record.addr = sent.initiator;
	for (int kind = 0; kind < 5; kind++) {
		struct invitation expected = expect(0);
		struct message message;
		struct wire_writer writer;

		stun_begin(&writer, message.bytes, sizeof(message.bytes), STUN_INDICATION,
			STUN_METHOD_INVITE, transaction);
		record.protocol = kind == 3 ? MAPPING_UDP : MAPPING_TCP;
		if (kind != 0)
			stun_put(&writer, STUN_NATPUNCH_INVITATION, value,
				kind == 1 ? sizeof(value) : sizeof(value) - 1);
		if (kind != 2)
			name_message_put_record(&writer, &record, secret, salt);
		stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
		stun_put_fingerprint(&writer);
		message.size = stun_finish(&writer);
		is_int(take(&expected, &message), kind == 4 ? 0 : -1, "%s",
			(const char *const[]){"no INVITATION", "one that is too long", "no RECORD",
				"a RECORD over UDP", "all of it"}[kind]);
	}
}

static void test_others(void)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42};
	struct invitation expected = expect(0);
	struct message message;
	struct wire_writer writer;

	stun_begin(&writer, message.bytes, sizeof(message.bytes), STUN_SUCCESS, STUN_METHOD_BINDING,
		transaction);
	message.size = stun_finish(&writer);
	is_int(take(&expected, &message), 1, "the answer to a Binding is no invitation");
	stun_begin(&writer, message.bytes, sizeof(message.bytes), STUN_REQUEST, STUN_METHOD_INVITE,
		transaction);
	message.size = stun_finish(&writer);
	is_int(take(&expected, &message), 1, "nor is a request");
}

/* ---- predictions ---------------------------------------------------------------------------- */

static const struct invitation_asker asker = {
	.connection = 0x0102030405060708, .transaction = "a connect: 1"};
static const struct key key = {.name = "home", .secret = {1, 2, 3, 4, 5, 6, 7, 8}};

static struct invitation make_second(uint32_t number)
{
	struct invitation invitation = make("192.0.2.2", 40000, number);

	invitation.kind = INVITATION_PREDICTION;
	invitation.prediction = (struct port_prediction){.port = 40010, .step = -2};
	invitation.asker = asker;
	return invitation;
}

static void test_invited_with_prediction(void)
{
	struct invitation sent = make_second(1);
	struct invitation expected = expect(0);
	struct message message = write_it(&sent);
	struct invitation plain = make("192.0.2.2", 40000, 2);

	ok(message.size > 0 && message.size <= INVITATION_SIZE_MAX, "with a prediction: written");
	is_int(take(&expected, &message), 0, "taken");
	is_int(expected.kind, INVITATION_PREDICTION, "its kind");
	is_uint(expected.prediction.port, 40010, "its port");
	is_int(expected.prediction.step, -2, "its step");
	is_uint(expected.asker.connection, asker.connection, "whom to answer");
	is_mem(expected.asker.transaction, asker.transaction, INVITATION_SESSION_SIZE,
		"and to what");
	ok(addr_equal(&expected.initiator, &sent.initiator), "and where it was before");
	message = write_it(&plain);
	is_int(take(&expected, &message), 0, "one without is taken after it");
	ok(expected.kind == INVITATION_PUNCH && expected.prediction.port == 0,
		"and nothing of the one before is left");
}

static struct message write_prediction(const struct port_prediction *prediction)
{
	struct message message;

	message.size = invitation_write_prediction(
		&asker, prediction, &key, random_bytes, message.bytes, sizeof(message.bytes));
	return message;
}

static int hear(const struct message *message, struct port_prediction *out)
{
	return invitation_read_prediction(
		secret, asker.transaction, message->bytes, message->size, out);
}

static void test_prediction(void)
{
	const struct port_prediction sent = {.port = 40010, .step = 1};
	struct message message = write_prediction(&sent);
	uint8_t another[INVITATION_SESSION_SIZE];
	struct port_prediction out;
	size_t taken = 0;
	bool all = true;

	is_int(hear(&message, &out), 0, "home's prediction is taken");
	ok(out.port == 40010 && out.step == 1, "as it was sent");
	is_int(invitation_read_prediction(
		       other_secret, asker.transaction, message.bytes, message.size, &out),
		-1, "not when it is another key's");
	is_uint(out.port, 0, "then it predicts nothing");
	for (size_t i = 0; i < sizeof(another); i++) {
		memcpy(another, asker.transaction, sizeof(another));
		another[i] ^= 1;
		if (invitation_read_prediction(
			    secret, another, message.bytes, message.size, &out) != -1)
			all = false;
	}
	ok(all, "nor when it answers another CONNECT");
	for (size_t bit = 0; bit < message.size * 8; bit++) {
		struct message other = message;

		other.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (hear(&other, &out) == 0 || out.port != 0)
			taken++;
	}
	is_uint(taken, 0, "of %zu changes of a bit none is taken", message.size * 8);
	for (size_t size = 0; size < message.size; size++) {
		struct message cut = {.size = size};

		memcpy(cut.bytes, message.bytes, size);
		if (hear(&cut, &out) == 0)
			taken++;
		if (invitation_write_prediction(
			    &asker, &sent, &key, random_bytes, cut.bytes, size) != 0)
			all = false;
	}
	is_uint(taken, 0, "cut anywhere it is not");
	ok(all, "in less room than it needs it is not written");
}

/* An invitation is no prediction, nor the other way round, whoever sends it back. */
static void test_reflected(void)
{
	struct invitation second = make_second(1);
	struct invitation expected = expect(0);
	const struct port_prediction prediction = {.port = 40010};
	struct message message = write_it(&second);
	struct port_prediction out;

	is_int(hear(&message, &out), 1, "an invitation is no prediction");
	message = write_prediction(&prediction);
	is_int(take(&expected, &message), 1, "nor is a prediction an invitation");
}

/* Under the right key, and without a part. */
static void test_prediction_parts(void)
{
	static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {0x21, 0x12, 0xa4, 0x42, 7};
	struct name_message_record record = {.protocol = MAPPING_TCP};
	uint8_t value[INVITATION_SESSION_SIZE + 4] = {0};
	uint8_t whom[8 + INVITATION_SESSION_SIZE] = {0};

	memcpy(value, session, sizeof(session));
	value[INVITATION_SESSION_SIZE + 3] = 1;
	memcpy(whom + 8, asker.transaction, INVITATION_SESSION_SIZE);
	record.addr = make("192.0.2.2", 40000, 1).initiator;
	for (int kind = 0; kind < 8; kind++) {
		bool invited = kind < 4;
		bool whole = kind % 4 == 3;
		struct invitation expected = expect(0);
		struct message message;
		struct wire_writer writer;
		struct port_prediction out;

		stun_begin(&writer, message.bytes, sizeof(message.bytes), STUN_INDICATION,
			invited ? STUN_METHOD_INVITE : STUN_METHOD_PREDICTION, transaction);
		if (invited) {
			stun_put(&writer, STUN_NATPUNCH_INVITATION, value, sizeof(value));
			name_message_put_record(&writer, &record, secret, salt);
		}
		if (kind % 4 != 0)
			stun_put(&writer, STUN_NATPUNCH_INITIATOR, whom,
				sizeof(whom) - (kind % 4 == 1));
		stun_put(&writer, STUN_NATPUNCH_PREDICTION, "\x9c\x4a\x00\x01",
			kind % 4 == 2 ? 3 : 4);
		stun_auth_put(&writer, secret, KEY_SECRET_SIZE);
		stun_put_fingerprint(&writer);
		message.size = stun_finish(&writer);
		is_int(invited ? take(&expected, &message) : hear(&message, &out), whole ? 0 : -1,
			"%s with %s", invited ? "an invitation" : "a prediction",
			(const char *const[]){"no INITIATOR", "one that is too short",
				"a PREDICTION that is too short", "all of it"}[kind % 4]);
		ok(whole || expected.number == 0, "and no number is used up by it");
	}
}

int main(void)
{
	test_invited_with_prediction();
	test_prediction();
	test_reflected();
	test_prediction_parts();
	test_round_trip();
	test_protocol();
	test_hidden();
	test_capacity();
	test_replay();
	test_last_number();
	test_other_session();
	test_other_key();
	test_mutations();
	test_truncations();
	test_parts();
	test_others();
	return done_testing();
}
