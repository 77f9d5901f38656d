/*
 * Registrations of one home at two reflectors, which are the test's own, as the other end of a pair
 * of sockets is: what each REGISTER says of home, when there is one, and who is warned of another
 * home. The clock is the test's as well.
 */
#include "home/registration.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "natpunch/base/timer_heap.h"
#include "natpunch/os/log.h"
#include "tap.h"

#define START     1000000
#define SEEN_PORT 40000
#define OPEN_PORT 2222

static const struct key key = {.name = "home", .secret = {1, 2, 3}};
static struct home_facts facts;

static struct site {
	struct registration registration;
	struct binding_client over;
	int fd; /* the reflector's end */
} one, other;

/* What a REGISTER said. */
struct said {
	bool random_ports;
	unsigned proved_port; /* 0: nothing */
	uint8_t home[NAME_MESSAGE_HOME_SIZE];
};

static struct addr public_address(uint16_t port)
{
	return (struct addr){.family = ADDR_IPV4, .ip = {203, 0, 113, 2}, .port = port};
}

static void answer(struct site *site, const void *data, size_t size)
{
	registration_take_response(&site->registration, data, size, START);
}

static void demand_proof(struct site *site, const struct stun_message *asked)
{
	uint8_t out[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	stun_begin(&writer, out, sizeof(out), STUN_ERROR, asked->method, asked->transaction);
	stun_put_error(&writer, 401, "");
	stun_put(&writer, STUN_NONCE, "nonce", 5);
	stun_put_fingerprint(&writer);
	answer(site, out, stun_finish(&writer));
}

static void grant(struct site *site, const struct stun_message *asked, bool rival)
{
	static const uint8_t salts[2][NAME_MESSAGE_SALT_SIZE] = {{1}, {2}};
	const struct name_message_record record = {
		.addr = public_address(SEEN_PORT), .protocol = MAPPING_TCP};
	uint8_t out[STUN_MESSAGE_MAX];
	struct wire_writer writer;

	stun_begin(&writer, out, sizeof(out), STUN_SUCCESS, asked->method, asked->transaction);
	name_message_put_record(&writer, &record, key.secret, salts[0]);
	if (rival)
		name_message_put_rival(&writer, &record, key.secret, salts[1]);
	stun_auth_put(&writer, key.secret, sizeof(key.secret));
	stun_put_fingerprint(&writer);
	answer(site, out, stun_finish(&writer));
}

static bool hear(struct site *site, uint8_t bytes[STUN_MESSAGE_MAX], struct stun_message *message)
{
	ssize_t got = recv(site->fd, bytes, STUN_MESSAGE_MAX, MSG_DONTWAIT);

	return got > 0 && stun_parse(message, bytes, (size_t)got) == 0 &&
	       message->method == STUN_METHOD_REGISTER;
}

static struct said read_said(const struct stun_message *message)
{
	struct said said = {.proved_port = 0};
	struct stun_attribute found;

	said.random_ports = stun_find(message, STUN_NATPUNCH_RANDOM_PORTS, &found);
	if (stun_find(message, STUN_NATPUNCH_PROVED_PORT, &found))
		said.proved_port = (unsigned)found.value[0] << 8 | found.value[1];
	if (stun_find(message, STUN_NATPUNCH_HOME, &found) && found.size == sizeof(said.home))
		memcpy(said.home, found.value, sizeof(said.home));
	return said;
}

/* Lets the site do what is due. Returns whether it registers; it is granted that then. */
static bool registers(struct site *site, bool rival, struct said *said)
{
	uint8_t bytes[STUN_MESSAGE_MAX];
	struct stun_message message;

	if (registration_next(&site->registration) <= START)
		registration_expire(&site->registration, START);
	if (!hear(site, bytes, &message))
		return false;
	demand_proof(site, &message);
	if (!hear(site, bytes, &message))
		return false;
	*said = read_said(&message);
	grant(site, &message, rival);
	return true;
}

static void start(struct site *site, uint16_t port)
{
	const struct mapping mapping = {
		.public_addr = public_address(port),
		.local = {.family = ADDR_IPV4, .ip = {192, 168, 1, 2}, .port = 22},
		.protocol = MAPPING_TCP,
	};

	registration_start(&site->registration, &site->over, &mapping, START);
}

static void open_site(struct site *site)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		bail_out("no sockets");
	*site = (struct site){.fd = ends[1]};
	site->over.port = (struct borrowed){.kind = BORROW_STREAM, .fd = ends[0]};
	site->over.answer.mode = BINDING_MODE_HOLD;
	registration_init(&site->registration, &key, &facts);
	start(site, SEEN_PORT);
}

static void close_site(struct site *site)
{
	close(site->over.port.fd);
	close(site->fd);
}

/* Both are registered, without more than that. */
static void begin(void)
{
	struct said said;

	home_facts_init(&facts);
	open_site(&one);
	open_site(&other);
	other.registration.beside = true;
	if (!registers(&one, false, &said) || !registers(&other, false, &said))
		bail_out("they do not register");
}

static void end(void)
{
	close_site(&one);
	close_site(&other);
}

static void test_home(void)
{
	struct said first, second;

	home_facts_init(&facts);
	open_site(&one);
	open_site(&other);
	ok(registers(&one, false, &first) && registers(&other, false, &second),
		"a home registers at two reflectors");
	ok(memcmp(first.home, second.home, sizeof(first.home)) == 0, "as one and the same");
	ok(!first.random_ports && first.proved_port == 0, "of which nothing more is known");
	ok(registration_next(&one.registration) > START && !registers(&one, false, &first),
		"and has no more to say");
	end();
}

static void test_random_ports(void)
{
	struct said said;

	begin();
	ok(registration_wants_look(&one.registration), "the NAT changes the port: it is looked at");
	facts.random_ports = true;
	is_uint(registration_next(&one.registration), 0, "what was found is news");
	ok(registers(&one, false, &said) && said.random_ports, "it is told at once");
	ok(registers(&other, false, &said) && said.random_ports, "to the other reflector as well");
	ok(!registers(&one, false, &said), "once");
	start(&one, 22);
	ok(registers(&one, false, &said) && !said.random_ports, "not of a port that is kept");
	ok(!registration_wants_look(&one.registration), "which is not looked at");
	end();
}

static void test_proved_port(void)
{
	struct said said;

	begin();
	facts.proved = public_address(OPEN_PORT);
	ok(registers(&one, false, &said), "strangers get in by another port: it is told at once");
	is_uint(said.proved_port, OPEN_PORT, "by which");
	ok(registers(&other, false, &said) && said.proved_port == OPEN_PORT,
		"to the other reflector as well");
	start(&other, OPEN_PORT);
	ok(registers(&other, false, &said) && said.proved_port == 0,
		"not where that port is what is seen");
	facts.proved.ip[3]++;
	ok(registers(&one, false, &said) && said.proved_port == 0, "nor of another address");
	facts.proved = public_address(OPEN_PORT);
	registration_stop(&one.registration);
	ok(!registers(&one, false, &said), "without a connection nothing is told");
	end();
}

/* What is said on standard error from now on is kept instead. Returns what it was. */
static int catch_words(void)
{
	int before = dup(STDERR_FILENO), words = memfd_create("words", MFD_CLOEXEC);

	if (before < 0 || words < 0 || dup2(words, STDERR_FILENO) < 0)
		bail_out("no file for the words");
	close(words);
	return before;
}

static unsigned count_warnings(void)
{
	char text[8192] = "";
	ssize_t got = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	text[got > 0 ? got : 0] = '\0';
	for (const char *at = text; (at = strstr(at, "warning: another")) != NULL; at++)
		count++;
	return count;
}

static void test_rivals(void)
{
	unsigned warned[4];
	struct said said;
	int before;

	begin();
	before = catch_words();
	start(&one, SEEN_PORT);
	start(&other, SEEN_PORT);
	registers(&one, true, &said);
	warned[0] = count_warnings();
	registers(&other, true, &said);
	registration_renew(&one.registration, START);
	registers(&one, true, &said);
	warned[1] = count_warnings();
	registration_renew(&one.registration, START);
	registers(&one, false, &said);
	registration_part(&other.registration);
	warned[2] = count_warnings();
	registration_renew(&one.registration, START);
	registers(&one, true, &said);
	warned[3] = count_warnings();
	dup2(before, STDERR_FILENO);
	close(before);
	is_uint(warned[0], 1, "another home is warned of");
	is_uint(warned[1], 1, "once, though both reflectors tell, and again");
	is_uint(warned[2], 1, "it goes");
	is_uint(warned[3], 2, "and is warned of when it comes again");
	is_uint(facts.rivals, 1, "one reflector tells now");
	end();
}

int main(void)
{
	test_home();
	test_random_ports();
	test_proved_port();
	test_rivals();
	return done_testing();
}
