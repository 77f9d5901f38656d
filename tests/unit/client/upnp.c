/*
 * Asking a router by UPnP: routers that work, those with a will of their own, and those that lie.
 * Whatever they say, the client comes to an end in its time and connects to nobody else.
 */
#include "natpunch/client/upnp.h"
#include "unit/upnp_run.h"

#include "natpunch/base/timer_heap.h"
#include "unit/fake_router.h"

#define BUDGET   1500 /* milliseconds */
#define SEARCHES 4    /* datagrams at once: two versions, to the router and to the group */

static struct upnp upnp;
static struct fake_router router;
static int stranger; /* listens; never accepts */

#define TYPE(name)         "<serviceType>urn:schemas-upnp-org:service:" name "</serviceType>"
#define SERVICE(name, url) "<service>" TYPE(name) "<controlURL>" url "</controlURL></service>"
#define DOCUMENT(services) "<?xml version=\"1.0\"?><root><device>" services "</device></root>"
#define IP1                "WANIPConnection:1"
#define IP2                "WANIPConnection:2"
#define EXTERNAL(text)     "<NewExternalIPAddress>" text "</NewExternalIPAddress>"

static bool is_get(const char *request)
{
	return strncmp(request, "GET ", 4) == 0;
}

static bool is_external(const char *request)
{
	return strstr(request, "#GetExternalIPAddress\"") != NULL;
}

/* A router that does what it is asked. */
#define CLIENT(ip)                                                                                 \
	"<NewInternalPort>22</NewInternalPort><NewInternalClient>" ip "</NewInternalClient>"

static void serve_well(const struct fake_router *self, int fd, const char *request)
{
	if (is_get(request))
		serve_body(fd, "200 OK", self->description);
	else if (is_external(request))
		serve_response(fd, request, EXTERNAL("88.66.88.66"));
	else
		serve_response(
			fd, request, "<NewReservedPort>4711</NewReservedPort>" CLIENT("127.0.0.1"));
}

/* All that is forwarded is another machine's. */
static void serve_another(const struct fake_router *self, int fd, const char *request)
{
	if (strstr(request, "#GetSpecificPortMappingEntry\"") != NULL)
		serve_response(fd, request, CLIENT("127.0.0.9"));
	else
		serve_well(self, fd, request);
}

static void begin(fake_router_serve *serve, const char *description)
{
	memset(&router, 0, sizeof(router));
	router.serve = serve;
	router.description = description;
	router.answers[0] = LOCATED_AT(ROUTER_URL "/d.xml");
}

static void search(uint64_t budget)
{
	struct upnp_request request = {
		.source = address("127.0.0.1", 0), .router = address(ROUTER_IP, 0)};
	uint64_t now = clock_now_ms();

	upnp_start(&upnp, &request, now + budget, now);
	upnp_run(&upnp);
	ok(clock_now_ms() < now + budget + PATIENCE, "the search ends");
	ok(upnp.search_fd == -1 && upnp.exchange.fd == -1, "nothing is left open");
}

/*
 * The same with a time that stands still until the router was heard so often and asked so often,
 * and an exchange that can end has ended. Then the deadline is there.
 */
static void search_without_time(size_t answers, unsigned requests, bool ends)
{
	struct upnp_request request = {
		.source = address("127.0.0.1", 0), .router = address(ROUTER_IP, 0)};
	uint64_t end = clock_now_ms() + PATIENCE;
	struct pollfd fds[UPNP_WATCH_MAX];

	upnp_start(&upnp, &request, 1000 + BUDGET, 1000);
	while (upnp.answers < answers || router.seen->requests < requests ||
		(ends && upnp.exchange.fd >= 0)) {
		if (clock_now_ms() > end)
			break;
		upnp_watch(&upnp, fds);
		(void)poll(fds, UPNP_WATCH_MAX, 10);
		upnp_advance(&upnp, 1000);
	}
	ok(upnp_is_busy(&upnp), "it would go on");
	upnp_advance(&upnp, 1000 + BUDGET);
	ok(!upnp_is_busy(&upnp), "the deadline ends it");
	ok(upnp.search_fd == -1 && upnp.exchange.fd == -1, "nothing is left open");
}

static struct igd_mapping mapping_of(uint16_t external_port, uint32_t lease)
{
	return (struct igd_mapping){.protocol = MAPPING_TCP,
		.external_port = external_port,
		.internal = address("127.0.0.1", 22),
		.lease = lease};
}

static void map(uint16_t external_port, uint32_t lease)
{
	struct igd_mapping mapping = mapping_of(external_port, lease);

	upnp_map(&upnp, &mapping, clock_now_ms() + BUDGET);
	upnp_run(&upnp);
	ok(upnp.exchange.fd == -1, "nothing is left open");
}

static void unmap(uint16_t external_port)
{
	struct igd_mapping mapping = mapping_of(external_port, 0);

	upnp_unmap(&upnp, &mapping, clock_now_ms() + BUDGET);
	upnp_run(&upnp);
}

static void end(void)
{
	struct pollfd visitor = {.fd = stranger, .events = POLLIN};

	upnp_end(&upnp);
	router_stop(&router);
	is_int(poll(&visitor, 1, 0), 0, "nobody else was asked");
}

static const char *external(void)
{
	static char ip[ADDR_IP_TEXT_SIZE];

	return addr_format_ip(&upnp.external, ip);
}

static bool asked(size_t number, const char *text)
{
	return number < router.seen->requests && number < REQUESTS_MAX &&
	       strstr(router.seen->request[number], text) != NULL;
}

/* --- routers that work --- */

static void test_good(void)
{
	begin(serve_well, DOCUMENT(SERVICE(IP2, "/ctl")));
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "a router is found");
	ok(upnp.heard && upnp.has_service, "it can be asked");
	is_str(external(), "88.66.88.66", "its address");
	is_uint(router.seen->requests, 2, "that took two questions");
	ok(asked(0, "GET /d.xml HTTP/1.1\r\nHost: 127.0.0.2:5000\r\n"), "for the description");
	ok(asked(1, "POST /ctl HTTP/1.1\r\n"), "and for the address");

	map(22, 7200);
	is_int(upnp.state, UPNP_MAPPED, "a mapping");
	is_uint(upnp.mapping.external_port, 22, "its port");
	is_uint(upnp.mapping.lease, 7200, "its time");
	ok(asked(2, "#AddPortMapping\""), "it was asked for");
	ok(asked(2, "<NewExternalPort>22</NewExternalPort>"), "with its port");
	ok(asked(2, "<NewInternalClient>127.0.0.1</NewInternalClient>"), "to this machine");
	map(22, 7200);
	is_int(upnp.state, UPNP_MAPPED, "it is renewed");
	unmap(22);
	is_int(upnp.state, UPNP_REMOVED, "and taken back");
	ok(asked(4, "#GetSpecificPortMappingEntry\""), "as it is this machine's");
	ok(asked(5, "#DeletePortMapping\""), "as was asked for");
	end();

	begin(serve_another, DOCUMENT(SERVICE(IP2, "/ctl")));
	router_start(&router);
	search(BUDGET);
	unmap(22);
	is_int(upnp.state, UPNP_REMOVED, "there is none of this machine");
	is_uint(router.seen->requests, 3, "and another's is not deleted");
	end();
}

/* The same in chunks of a few bytes, and without a length. */
static void serve_in_chunks(const struct fake_router *self, int fd, const char *request)
{
	const char *text = self->description;
	char chunk[64];

	if (!is_get(request)) {
		const char *answer = "HTTP/1.0 200 OK\r\n\r\n"
				     "<u:GetExternalIPAddressResponse>" EXTERNAL(
					     "88.66.88.66") "</u:GetExternalIPAddressResponse>";

		(void)say(fd, answer, strlen(answer));
		return;
	}
	(void)say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);
	for (size_t size; *text != '\0'; text += size) {
		size = strnlen(text, 7);
		snprintf(chunk, sizeof(chunk), "%zx\r\n%.7s\r\n", size, text);
		(void)say(fd, chunk, strlen(chunk));
		pause_briefly();
	}
	(void)say(fd, "0\r\n\r\n", 5);
}

static void test_pieces(void)
{
	begin(serve_in_chunks, DOCUMENT(SERVICE(IP2, "/ctl")));
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "a router that answers in pieces");
	is_str(external(), "88.66.88.66", "its address");
	end();
}

static void test_searches(void)
{
	begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
	router.only_group = true;
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "one that answers the group alone");
	end();

	begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
	router.deaf = 5;
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "one that hears the second call");
	end();

	begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
	router.answers[0] = "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\n\r\n";
	router.answers[1] = LOCATED_AT(ROUTER_URL "/d.xml");
	router.answers[2] = router.answers[1];
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "one that says more than one thing");
	is_uint(router.seen->requests, 2, "each description is fetched once");
	end();
}

/* Time is what the test says it is. */
static void test_times(void)
{
	struct upnp_request request = {
		.source = address("127.0.0.1", 0), .router = address(ROUTER_IP, 0)};
	struct pollfd fds[UPNP_WATCH_MAX];

	upnp_start(&upnp, &request, 2500, 1000);
	is_uint(upnp_watch(&upnp, fds), 1250, "asked again after 250 ms");
	ok(fds[0].fd == upnp.search_fd && fds[0].events == POLLIN, "the search is watched");
	is_int(fds[1].fd, -1, "and nothing else");
	upnp_advance(&upnp, 1249);
	is_uint(upnp_watch(&upnp, fds), 1250, "not before");
	upnp_advance(&upnp, 1250);
	is_uint(upnp_watch(&upnp, fds), 1750, "and after 750 ms");
	upnp_advance(&upnp, 1750);
	is_uint(upnp_watch(&upnp, fds), 2500, "and no more");
	upnp_advance(&upnp, 2499);
	is_int(upnp.state, UPNP_SEARCHING, "it waits");
	upnp_advance(&upnp, 2500);
	is_int(upnp.state, UPNP_FAILED, "to the end");
	is_str(upnp.why, "no answer", "why");
	ok(!upnp.heard && !upnp.has_service, "nobody was heard");
	is_uint(upnp_watch(&upnp, fds), TIMER_NONE, "nothing is to be waited for");
	is_int(fds[0].fd, -1, "nothing is watched");
	upnp_end(&upnp);

	request.source = address("192.0.2.1", 0);
	upnp_start(&upnp, &request, 2500, 1000);
	is_int(upnp.state, UPNP_FAILED, "from an address that is not ours");
	is_str(upnp.why, strerror(EADDRNOTAVAIL), "why");
	upnp_end(&upnp);
}

/* --- several services, several descriptions --- */

static void serve_several(const struct fake_router *self, int fd, const char *request)
{
	if (strncmp(request, "GET /broken", 11) == 0)
		serve_body(fd, "200 OK", "<html>");
	else if (strncmp(request, "GET /gone", 9) == 0)
		serve_body(fd, "404 Not Found", self->description);
	else if (is_get(request))
		serve_body(fd, "200 OK", self->description);
	else if (strncmp(request, "POST /fault", 11) == 0)
		serve_fault(fd, 501);
	else if (strncmp(request, "POST /zero", 10) == 0 && is_external(request))
		serve_response(fd, request, EXTERNAL("0.0.0.0"));
	else if (strncmp(request, "POST /none", 10) == 0)
		serve_body(fd, "404 Not Found", "");
	else
		serve_well(self, fd, request);
}

static void test_several(void)
{
	begin(serve_several, DOCUMENT(SERVICE(IP1, "/ctl")));
	router.answers[0] = LOCATED_AT(ROUTER_URL "/broken");
	router.answers[1] = LOCATED_AT(ROUTER_URL "/gone");
	router.answers[2] = LOCATED_AT("http://" ROUTER_IP ":5001/closed");
	router.answers[3] = LOCATED_AT(ROUTER_URL "/d.xml");
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "the fourth description is good");
	is_uint(router.seen->requests, 4, "and no other that is there");
	ok(asked(3, "#GetExternalIPAddress"), "a service of it is asked");
	end();

	begin(serve_several, DOCUMENT(SERVICE(IP2, "/zero") SERVICE(IP1, "/none") SERVICE(
				     IP1, "/fault") SERVICE("WANPPPConnection:1", "/ctl")));
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "the fourth service tells an address");
	map(22, 60);
	ok(asked(5, "POST /ctl "), "that one is asked to forward");
	end();

	begin(serve_several,
		DOCUMENT(SERVICE(IP1, "/none") SERVICE(IP1, "/zero") SERVICE(IP1, "/fault")));
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "no service tells an address");
	is_str(external(), "?", "none is made up");
	map(22, 60);
	ok(asked(4, "POST /zero "), "the first that answers is asked to forward");
	is_int(upnp.state, UPNP_MAPPED, "and may do so");
	end();

	begin(serve_several, DOCUMENT(SERVICE(IP1, "/fault")));
	router_start(&router);
	search(BUDGET);
	map(22, 60);
	is_int(upnp.state, UPNP_REFUSED, "or say why not");
	is_uint(upnp.error, 501, "its code");
	end();

	begin(serve_several, DOCUMENT(SERVICE(IP1, "/none")));
	router_start(&router);
	search_without_time(SEARCHES, 2, true);
	is_int(upnp.state, UPNP_FAILED, "no service answers");
	end();
}

/* --- routers with a will of their own --- */

static void serve_permanent(const struct fake_router *self, int fd, const char *request)
{
	if (strstr(request, "#AddPortMapping\"") != NULL &&
		strstr(request, "<NewLeaseDuration>0<") == NULL)
		serve_fault(fd, self->deaf == 0 ? 725 : 402);
	else
		serve_well(self, fd, request);
}

static void serve_taken(const struct fake_router *self, int fd, const char *request)
{
	if (strstr(request, "#AddPortMapping\"") != NULL &&
		strstr(request, "<NewExternalPort>22<") != NULL)
		serve_fault(fd, 718);
	else
		serve_well(self, fd, request);
}

static void serve_all_taken(const struct fake_router *self, int fd, const char *request)
{
	if (strstr(request, "#AddPortMapping\"") == NULL)
		serve_well(self, fd, request);
	else
		serve_fault(fd, strstr(request, "<NewExternalPort>22<") != NULL ? 729 : 718);
}

static void serve_refusal(const struct fake_router *self, int fd, const char *request)
{
	if (strstr(request, "#AddPortMapping\"") != NULL)
		serve_fault(fd, 606);
	else if (strstr(request, "#AddAnyPortMapping\"") != NULL)
		serve_fault(fd, 728);
	else if (strstr(request, "#GetSpecificPortMappingEntry\"") != NULL &&
		 strstr(request, ">22<") != NULL)
		serve_fault(fd, 714);
	else if (strstr(request, "#DeletePortMapping\"") != NULL)
		serve_fault(fd, 606);
	else
		serve_well(self, fd, request);
}

static void find(fake_router_serve *serve, const char *description)
{
	begin(serve, description);
	router_start(&router);
	search(BUDGET);
	is_int(upnp.state, UPNP_READY, "a router is found");
}

static void test_leases(void)
{
	for (unsigned deaf = 0; deaf < 2; deaf++) {
		begin(serve_permanent, DOCUMENT(SERVICE(IP1, "/ctl")));
		router.deaf = deaf; /* of one search to it and one to the group */
		router_start(&router);
		search(BUDGET);
		map(22, 7200);
		is_int(upnp.state, UPNP_MAPPED, "one that grants only what does not end");
		is_uint(upnp.mapping.lease, 0, "it does not end");
		is_uint(router.seen->requests, 4, "it was asked twice");
		end();
	}
}

static void test_other_ports(void)
{
	find(serve_taken, DOCUMENT(SERVICE(IP2, "/ctl")));
	map(22, 7200);
	is_int(upnp.state, UPNP_MAPPED, "the port is taken: any port");
	ok(asked(3, "#AddAnyPortMapping\""), "it was asked to choose");
	is_uint(upnp.mapping.external_port, 4711, "what it chose");
	is_uint(upnp.mapping.lease, 7200, "for as long");
	end();

	find(serve_taken, DOCUMENT(SERVICE(IP1, "/ctl")));
	map(22, 7200);
	is_int(upnp.state, UPNP_MAPPED, "the port is taken, version 1: another one");
	ok(asked(3, "#AddPortMapping\""), "it was asked for that");
	ok(upnp.mapping.external_port >= 1024, "one that is not below 1024");
	end();

	find(serve_all_taken, DOCUMENT(SERVICE(IP1, "/ctl")));
	map(22, 7200);
	is_int(upnp.state, UPNP_REFUSED, "all ports are taken");
	is_uint(upnp.error, 729, "what was said of the one that was wanted");
	is_uint(router.seen->requests, 6, "three others were tried");
	end();
}

static void test_refusal(void)
{
	find(serve_refusal, DOCUMENT(SERVICE(IP2, "/ctl")));
	map(2222, 7200);
	is_int(upnp.state, UPNP_REFUSED, "no permission");
	is_uint(upnp.error, 606, "its code");
	is_uint(router.seen->requests, 3, "it was asked once");
	map(22, 7200);
	is_int(upnp.state, UPNP_REFUSED, "no permission for a low port, nor for any");
	is_uint(upnp.error, 606, "its code");
	ok(asked(4, "#AddAnyPortMapping\""), "any was asked for");
	unmap(22);
	is_int(upnp.state, UPNP_REMOVED, "what is not there is gone");
	unmap(23);
	is_int(upnp.state, UPNP_REFUSED, "what must not be deleted stays");
	router_stop(&router);
	map(22, 7200);
	is_int(upnp.state, UPNP_FAILED, "a router that is gone");
	is_str(upnp.why, "Connection refused", "why");
	upnp_end(&upnp);
}

/* --- routers that lie --- */

static void serve_slowly(const struct fake_router *self, int fd, const char *request)
{
	const char *head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

	(void)self;
	(void)request;
	(void)say(fd, head, strlen(head));
	while (say(fd, " ", 1))
		poll(NULL, 0, 20);
}

static void serve_nothing(const struct fake_router *self, int fd, const char *request)
{
	char byte;

	(void)self;
	(void)request;
	(void)recv(fd, &byte, 1, 0);
}

/* The description without an end: its first line once, the rest again and again. */
static void serve_endlessly(const struct fake_router *self, int fd, const char *request)
{
	const char *rest = strchr(self->description, '\n') + 1;

	(void)request;
	(void)say(fd, self->description, (size_t)(rest - self->description));
	while (say(fd, rest, strlen(rest)))
		;
}

static void serve_raw(const struct fake_router *self, int fd, const char *request)
{
	(void)request;
	(void)say(fd, self->description, strlen(self->description));
}

#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

/* In real time. */
static void test_slow(void)
{
	begin(serve_slowly, "");
	router_start(&router);
	search(200);
	is_int(upnp.state, UPNP_FAILED, "a slow router");
	end();
	begin(serve_endlessly, OK "\r\n<a></a>\n ");
	router_start(&router);
	search(200);
	is_int(upnp.state, UPNP_FAILED, "a router that says too much");
	end();
}

static void test_lies(void)
{
	static char unclosed[200000], elements[200000];
	const struct {
		const char *what;
		fake_router_serve *serve;
		const char *description;
		const char *why;
	} rows[] = {
		{"a slow body", serve_slowly, "", "the time is up"},
		{"silence", serve_nothing, "", "the time is up"},
		{"an end at once", serve_raw, "", NULL},
		{"a body without an end", serve_endlessly, OK "\r\n<a></a>", NULL},
		{"headers without an end", serve_endlessly, OK "X: y\r\n", NULL},
		{"a line without an end", serve_endlessly, OK "XXXXXX", NULL},
		{"chunks without an end", serve_endlessly, CHUNKED "1\r\n \r\n", NULL},
		{"a redirect", serve_raw,
			"HTTP/1.1 302 Found\r\nLocation: http://" STRANGER_IP "/\r\n"
			"Content-Length: 0\r\n\r\n",
			NULL},
		{"a huge chunk", serve_raw, CHUNKED "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", NULL},
		{"a negative chunk", serve_raw, CHUNKED "-5\r\nabc\r\n0\r\n\r\n", NULL},
		{"a negative length", serve_raw, OK "Content-Length: -1\r\n\r\n<a>", NULL},
		{"a huge length", serve_raw, OK "Content-Length: 4294967297\r\n\r\n<a>", NULL},
		{"no HTTP", serve_raw, "SSH-2.0-OpenSSH_9.2\r\n", NULL},
		{"entities", serve_well,
			"<!DOCTYPE a [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]>" DOCUMENT(
				SERVICE(IP1, "/&b;")),
			NULL},
		{"a control URL elsewhere", serve_well,
			DOCUMENT(SERVICE(IP1, "http://" STRANGER_IP ":80/ctl")), NULL},
		{"a base elsewhere", serve_well,
			DOCUMENT("<URLBase>http://" STRANGER_IP
				 "/</URLBase>" SERVICE(IP1, "http://" STRANGER_IP "/ctl")),
			NULL},
		{"a control URL of two lines", serve_well,
			DOCUMENT(SERVICE(IP1, "/ctl HTTP/1.1\r\nX: y")), NULL},
		{"elements that stay open", serve_well, unclosed, NULL},
		{"open elements and texts", serve_well, elements, NULL},
		{"no service", serve_well, DOCUMENT(""), NULL},
	};

	for (size_t i = 0; i + 9 < sizeof(unclosed); i += 9)
		memcpy(unclosed + i, "<service>", 9);
	for (size_t i = 0; i + 23 < sizeof(elements); i += 23)
		memcpy(elements + i, "<service><serviceType>x", 23);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(rows[i].serve, rows[i].description);
		router_start(&router);
		search_without_time(1, 1, rows[i].why == NULL);
		is_int(upnp.state, UPNP_FAILED, "%s", rows[i].what);
		ok(upnp.heard && !upnp.has_service, "it was heard, and is of no use");
		is_str(upnp.why, rows[i].why != NULL ? rows[i].why : upnp.why, "why");
		is_uint(router.seen->requests, 1, "its description was asked for once");
		end();
	}
}

/* Answers to the search that must not be followed: not a byte goes out. */
static void test_locations(void)
{
	static char longest[1400] =
		"HTTP/1.1 200 OK\r\nST: " GATEWAY_TYPE "\r\nLOCATION: http://127.0.0.2:5000/";
	static const char *const answers[] = {LOCATED_AT("http://" STRANGER_IP ":80/d.xml"),
		LOCATED_AT("http://localhost:5000/d.xml"), LOCATED_AT("file:///etc/passwd"),
		LOCATED_AT("http://" ROUTER_IP ":5000@" STRANGER_IP "/d.xml"),
		LOCATED_AT("http://" ROUTER_IP ":5000/\r/d.xml"), longest, "", "HTTP/1.1 200 OK",
		"\r\n\r\n"};
	size_t start = strlen(longest);

	memset(longest + start, 'a', 1200);
	memcpy(longest + start + 1200, "\r\n\r\n", 5);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
		router.answers[0] = answers[i];
		router_start(&router);
		search_without_time(SEARCHES, 0, true);
		is_int(upnp.state, UPNP_FAILED, "not to be followed: %.90s", answers[i]);
		ok(upnp.heard, "it was heard");
		is_uint(router.seen->requests, 0, "and not visited");
		end();
	}

	begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
	router.answers_from = STRANGER_IP;
	router_start(&router);
	search(100);
	is_int(upnp.state, UPNP_FAILED, "another host's answer");
	ok(!upnp.heard, "counts for nothing");
	is_uint(router.seen->requests, 0, "and leads nowhere");
	end();
}

/* So many answers are looked at, and no more. */
static void test_flood(void)
{
	begin(serve_well, DOCUMENT(SERVICE(IP1, "/ctl")));
	for (size_t i = 0; i < UPNP_ANSWERS_MAX; i++)
		router.answers[i] = LOCATED_AT("http://" STRANGER_IP "/d.xml");
	router.answers[UPNP_ANSWERS_MAX] = LOCATED_AT(ROUTER_URL "/d.xml");
	router_start(&router);
	search_without_time(UPNP_ANSWERS_MAX, 0, true);
	is_int(upnp.state, UPNP_FAILED, "a flood of answers");
	is_uint(upnp.answers, UPNP_ANSWERS_MAX, "so many were looked at");
	is_uint(router.seen->requests, 0, "and not the good one behind them");
	end();
}

static void serve_wrong_address(const struct fake_router *self, int fd, const char *request)
{
	static const char *const texts[] = {"0.0.0.0", "", "not an address &lt;", "127.0.0.1",
		"6.6.6.6</NewExternalIPAddress><x/><NewExternalIPAddress>::1"};
	char value[256];

	snprintf(value, sizeof(value), EXTERNAL("%s"), texts[self->deaf % 5]);
	if (is_external(request))
		serve_response(fd, request, value);
	else
		serve_well(self, fd, request);
}

static void test_addresses(void)
{
	for (unsigned i = 0; i < 4; i++) {
		begin(serve_wrong_address, DOCUMENT(SERVICE(IP1, "/ctl")));
		router.deaf = i;
		router_start(&router);
		search(BUDGET);
		is_int(upnp.state, UPNP_READY, "a wrong address");
		is_str(external(), "?", "is none");
		end();
	}
}

/* Answers to a request that are none. */
static void serve_bad_work(const struct fake_router *self, int fd, const char *request)
{
	if (is_get(request) || is_external(request))
		serve_well(self, fd, request);
	else if (strstr(request, "<NewExternalPort>1<") != NULL)
		serve_body(fd, "200 OK", "<html><body>Please log in</body></html>");
	else if (strstr(request, "<NewExternalPort>2<") != NULL)
		serve_body(fd, "401 Unauthorized", "<u:AddPortMappingResponse/>");
	else if (strstr(request, "<NewExternalPort>3<") != NULL)
		serve_body(fd, "200 OK", "<u:AddPortMappingResponse>");
	else
		serve_slowly(self, fd, request);
}

static void test_bad_work(void)
{
	struct igd_mapping mapping = mapping_of(4, 60);

	find(serve_bad_work, DOCUMENT(SERVICE(IP1, "/ctl")));
	for (uint16_t port = 1; port <= 3; port++) {
		map(port, 60);
		is_int(upnp.state, UPNP_FAILED, "no answer to a request, %u", port);
		is_str(upnp.why, "a bad answer", "why");
	}
	upnp_map(&upnp, &mapping, clock_now_ms() + 100);
	upnp_run(&upnp);
	is_int(upnp.state, UPNP_FAILED, "an answer without an end");
	is_str(upnp.why, "the time is up", "why");
	end();
}

int main(void)
{
	network_enter();
	stranger = listen_at(STRANGER_IP, 80);
	test_good();
	test_pieces();
	test_searches();
	test_times();
	test_several();
	test_leases();
	test_other_ports();
	test_refusal();
	test_slow();
	test_lies();
	test_locations();
	test_flood();
	test_addresses();
	test_bad_work();
	close(stranger);
	return done_testing();
}
