/* Did a dial-back come to this machine? What is remembered of it, and what the kernel shows. */
#include "natpunch/client/arrivals.h"

#include "unit/server.h"

static struct arrivals arrivals;

static struct addr addr_of(const char *text, uint16_t port)
{
	return address(text, port);
}

/* A tap that could see all and saw nothing; 192.168.1.2:22 is 203.0.113.2:4022 outside. */
static void begin(void)
{
	memset(&arrivals, 0, sizeof(arrivals));
	arrivals.tap = -1;
	arrivals.local = addr_of("192.168.1.2", 22);
	arrivals.public_port = 4022;
}

static void see(const char *source, uint16_t source_port, const char *to, uint16_t port)
{
	arrivals.seen[arrivals.count++ % ARRIVALS_MAX] = (struct arrivals_syn){
		.source = addr_of(source, source_port), .destination = addr_of(to, port)};
}

static void is_judged(const char *ip, uint16_t port, enum arrival want, const char *name)
{
	struct addr from = addr_of(ip, port);

	is_int(arrivals_judge(&arrivals, &from), want, "%s", name);
}

static void test_judge(void)
{
	begin();
	is_judged("198.51.100.11", 40000, ARRIVAL_MISSING, "nothing came");
	see("198.51.100.11", 40000, "192.168.1.2", 22);
	is_judged("198.51.100.11", 40000, ARRIVAL_SEEN, "from there, with its port");
	is_judged("198.51.100.11", 0, ARRIVAL_SEEN, "from there; the port is not told");
	is_judged("198.51.100.12", 0, ARRIVAL_DOUBTFUL, "another address; the port is not told");
	is_judged("198.51.100.11", 40001, ARRIVAL_DOUBTFUL, "its port may have been changed");
	is_judged("198.51.100.12", 40001, ARRIVAL_DOUBTFUL, "its address and port may have been");

	begin();
	see("198.51.100.11", 40000, "192.168.1.2", 2222);
	is_judged("198.51.100.11", 40000, ARRIVAL_SEEN, "to another port of this machine");
	is_judged("198.51.100.12", 40000, ARRIVAL_MISSING, "somebody else's is not a doubt there");
	begin();
	see("192.168.1.1", 40000, "192.168.1.2", 22);
	is_judged("198.51.100.11", 40000, ARRIVAL_SEEN, "the router's address, the dialler's port");
	begin();
	see("192.168.1.1", 9, "192.168.1.2", 4022);
	is_judged("198.51.100.11", 40000, ARRIVAL_DOUBTFUL, "to the public port, by somebody else");
}

static void test_others(void)
{
	struct addr known = addr_of("198.51.100.10", 3478);

	begin();
	arrivals_expect(&arrivals, &known);
	arrivals_expect(&arrivals, &known);
	is_uint(arrivals.expected_count, 1, "a reflector that is asked twice is one");
	see("198.51.100.10", 40000, "192.168.1.2", 22);
	is_judged(
		"198.51.100.11", 40001, ARRIVAL_MISSING, "what another reflector sent is its own");
	is_judged("198.51.100.10", 40001, ARRIVAL_DOUBTFUL, "not so for itself");
	is_judged("10.0.0.9", 40001, ARRIVAL_DOUBTFUL, "nor where its address is changed outside");
	is_judged("10.0.0.9", 40000, ARRIVAL_SEEN, "and the port is kept");

	begin();
	see("198.51.100.11", 40000, "192.168.1.9", 22);
	is_judged("198.51.100.11", 40000, ARRIVAL_DOUBTFUL, "it passes through to another machine");
	is_judged(
		"198.51.100.12", 40001, ARRIVAL_MISSING, "others that pass through do not matter");
}

static void test_lost(void)
{
	char why[ARRIVALS_WHY_SIZE];

	begin();
	for (uint16_t i = 0; i < ARRIVALS_MAX + 1; i++)
		see("198.51.100.12", (uint16_t)(1000 + i), "192.168.1.2", 80);
	see("198.51.100.11", 40000, "192.168.1.2", 22);
	arrivals.lost = true;
	is_judged("198.51.100.11", 40000, ARRIVAL_SEEN, "of many the last ones are remembered");
	is_judged("198.51.100.11", 40001, ARRIVAL_UNTOLD, "what was forgotten may have been it");
	ok(strstr(arrivals_explain(&arrivals, ARRIVAL_UNTOLD, why), "more came at once") != NULL,
		"%s", why);
	arrivals.lost = false;
	arrivals.problem = EPERM;
	ok(strstr(arrivals_explain(&arrivals, ARRIVAL_UNTOLD, why), "CAP_NET_RAW") != NULL, "%s",
		why);
	arrivals.problem = EAFNOSUPPORT;
	ok(strstr(arrivals_explain(&arrivals, ARRIVAL_UNTOLD, why), strerror(EAFNOSUPPORT)) != NULL,
		"%s", why);
	is_judged("198.51.100.11", 40001, ARRIVAL_DOUBTFUL, "somebody else's");
	ok(strstr(arrivals_explain(&arrivals, ARRIVAL_DOUBTFUL, why), "198.51.100.11:40000") !=
			NULL,
		"%s", why);
}

static struct addr listen_at(const char *ip, int *fd)
{
	struct addr at = addr_of(ip, 0);

	*fd = socket(at.family == ADDR_IPV4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || socket_bind(*fd, &at) != 0 || listen(*fd, 2 * ARRIVALS_MAX) != 0 ||
		socket_local(*fd, &at) != 0)
		bail_out("no listener at %s: %s", ip, strerror(errno));
	return at;
}

static struct addr dial_from(const struct addr *to, int *fd)
{
	struct addr from;

	*fd = socket(to->family == ADDR_IPV4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || (socket_connect(*fd, to) != 0 && errno != EINPROGRESS) ||
		socket_local(*fd, &from) != 0)
		bail_out("cannot dial: %s", strerror(errno));
	return from;
}

static void test_kernel(const char *ip)
{
	struct addr here, from, other;
	int listener, client;

	here = listen_at(ip, &listener);
	arrivals_open(&arrivals, &here, &here);
	ok(arrivals.tap >= 0, "%s is watched", ip);
	from = dial_from(&here, &client);
	is_int(arrivals_find(&arrivals, &from), ARRIVAL_SEEN, "%s: a connection is seen", ip);
	other = from;
	other.port ^= 1;
	is_int(arrivals_find(&arrivals, &other), ARRIVAL_DOUBTFUL, "%s: of another one", ip);
	arrivals_close(&arrivals);
	arrivals_close(&arrivals);

	/* Without a tap: the table of connections. */
	is_int(arrivals_find(&arrivals, &from), ARRIVAL_SEEN, "%s, no tap: one that stands", ip);
	is_int(arrivals_find(&arrivals, &other), ARRIVAL_UNTOLD, "%s, no tap: one that does not",
		ip);
	close(client);
	close(listener);

	arrivals_open(&arrivals, &here, &here);
	is_int(arrivals_find(&arrivals, &from), ARRIVAL_MISSING, "%s: what came before", ip);
	arrivals_close(&arrivals);
}

static void test_flood(void)
{
	struct addr here, from = addr_of("198.51.100.11", 40000);
	int listener, client;

	here = listen_at("127.0.0.1", &listener);
	arrivals_open(&arrivals, &here, &here);
	for (int i = 0; i < ARRIVALS_MAX; i++) {
		dial_from(&here, &client);
		close(client);
	}
	is_int(arrivals_find(&arrivals, &from), ARRIVAL_DOUBTFUL, "as many as are remembered");
	dial_from(&here, &client);
	close(client);
	is_int(arrivals_find(&arrivals, &from), ARRIVAL_UNTOLD, "one more");
	arrivals_close(&arrivals);
	close(listener);
}

static void test_translated(void)
{
	struct addr local = addr_of("::1", 22);
	struct addr mapped = addr_of("203.0.113.2", 22);
	char why[ARRIVALS_WHY_SIZE];

	arrivals_open(&arrivals, &local, &mapped);
	is_int(arrivals_find(&arrivals, &mapped), ARRIVAL_UNTOLD, "of another family: untold");
	ok(strstr(arrivals_explain(&arrivals, ARRIVAL_UNTOLD, why), "translated") != NULL, "%s",
		why);
	arrivals_close(&arrivals);
}

int main(void)
{
	network_enter();
	test_judge();
	test_others();
	test_lost();
	test_kernel("127.0.0.1");
	test_kernel("::1");
	test_flood();
	test_translated();
	return done_testing();
}
