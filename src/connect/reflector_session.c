#include "connect/reflector_session.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/os/random.h"
#include "natpunch/os/socket.h"
#include "natpunch/proto/first_bytes.h"
#include "natpunch/proto/invitation.h"

static size_t write_request(struct reflector_session *session, uint8_t *out, size_t capacity)
{
	uint8_t random[12];

	random_fill(random, sizeof(random));
	return name_message_write(&session->question, random, out, capacity);
}

/* A failure here costs a round trip, and is passed over. */
static void ask_for_nonce(struct reflector_session *session)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size;

	session->datagram =
		socket_open((enum addr_family)session->reflector.family, SOCK_DGRAM, IPPROTO_UDP);
	if (session->datagram < 0 || socket_connect(session->datagram, &session->reflector) != 0)
		return;
	size = write_request(session, bytes, sizeof(bytes));
	if (send(session->datagram, bytes, size, 0) < 0)
		return;
}

void reflector_session_start(
	struct reflector_session *session, const struct addr *reflector, const struct key *key)
{
	memset(session, 0, sizeof(*session));
	session->reflector = *reflector;
	session->stream = -1;
	name_message_start(&session->question, STUN_METHOD_CONNECT, key);
	ask_for_nonce(session);
}

bool reflector_session_has_nonce(const struct reflector_session *session)
{
	return session->question.nonce_size > 0 || session->datagram < 0;
}

void reflector_session_take_nonce(struct reflector_session *session)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	const char *why;
	ssize_t got = recv(session->datagram, bytes, sizeof(bytes), 0);

	if (got > 0)
		name_message_read(&session->question, bytes, (size_t)got, &why);
	else if (errno != EAGAIN && errno != EINTR) {
		close(session->datagram);
		session->datagram = -1;
	}
}

enum reflector_answer reflector_session_ask(struct reflector_session *session)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	size_t size = write_request(session, bytes, sizeof(bytes));

	session->what = stun_stream_send(session->stream, bytes, size);
	if (session->what == NULL)
		return REFLECTOR_ANSWER_NONE;
	session->why = strerror(errno);
	return REFLECTOR_ANSWER_UNSENT;
}

/* Passes over all messages except home's prediction. */
static enum reflector_answer read_prediction(
	const struct reflector_session *session, struct port_prediction *prediction)
{
	const struct name_question *question = &session->question;
	const struct stun_stream *message = &session->received;

	return invitation_read_prediction(question->key->secret, question->transaction + 4,
		       message->bytes, message->received, prediction) == 0
		       ? REFLECTOR_ANSWER_DONE
		       : REFLECTOR_ANSWER_NONE;
}

static enum reflector_answer read_answer(struct reflector_session *session)
{
	static const enum reflector_answer answers[] = {
		[NAME_MESSAGE_AGAIN] = REFLECTOR_ANSWER_AGAIN,
		[NAME_MESSAGE_DONE] = REFLECTOR_ANSWER_DONE,
		[NAME_MESSAGE_REFUSED] = REFLECTOR_ANSWER_REFUSED,
		[NAME_MESSAGE_UNSUPPORTED] = REFLECTOR_ANSWER_UNSUPPORTED,
		[NAME_MESSAGE_FAILED] = REFLECTOR_ANSWER_ERROR,
		[NAME_MESSAGE_UNRELATED] = REFLECTOR_ANSWER_NONE,
		[NAME_MESSAGE_MALFORMED] = REFLECTOR_ANSWER_MALFORMED,
	};

	return answers[name_message_read(&session->question, session->received.bytes,
		session->received.received, &session->why)];
}

enum reflector_answer reflector_session_read(
	struct reflector_session *session, struct port_prediction *prediction)
{
	struct stun_stream *received = &session->received;
	enum stun_stream_result result = stun_stream_read(received, session->stream);

	switch (result) {
	case STUN_STREAM_MESSAGE:
		return prediction != NULL ? read_prediction(session, prediction)
					  : read_answer(session);
	case STUN_STREAM_WAITING:
		return REFLECTOR_ANSWER_NONE;
	case STUN_STREAM_NOT_STUN:
		return first_bytes_is_line(received->bytes, received->received)
			       ? REFLECTOR_ANSWER_LATE
			       : REFLECTOR_ANSWER_NOT_STUN;
	case STUN_STREAM_CUT:
		result = STUN_STREAM_CLOSED;
		break;
	case STUN_STREAM_CLOSED:
	case STUN_STREAM_BROKEN:
		break;
	}
	session->why = stun_stream_explain(result);
	return REFLECTOR_ANSWER_LOST;
}

int reflector_session_take(struct reflector_session *session)
{
	int fd = session->stream;

	session->stream = -1;
	return fd;
}

void reflector_session_end(struct reflector_session *session)
{
	if (session->stream >= 0)
		close(session->stream);
	if (session->datagram >= 0)
		close(session->datagram);
	session->stream = -1;
	session->datagram = -1;
}
