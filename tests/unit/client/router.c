/*
 * The test plays the router: a UDP socket on loopback, and a clock that it moves itself, so nothing
 * waits. What is sent over loopback is there at once.
 */
#include "natpunch/client/router.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "natpunch/os/socket.h"
#include "natpunch/proto/pcp.h"
#include "tap.h"

#define START 1000 /* of the clock */

static const struct router_secret secret = {.bytes = "a machine", .size = 9};

struct scene {
	int fd; /* the router's */
	struct router_request request;
	struct router router;
	struct addr client;
	uint8_t asked[PCP_REQUEST_MAX]; /* what the router received last */
	size_t size;
};

static struct addr loopback(void)
{
	return (struct addr){.family = ADDR_IPV4, .ip = {127, 0, 0, 1}};
}

static struct scene scene_make(void)
{
	struct scene scene = {.request = {.router = loopback(),
				      .source = loopback(),
				      .secret = &secret,
				      .protocol = MAPPING_TCP,
				      .port = 22,
				      .wish = 22,
				      .lease = 7200,
				      .methods = 1U << ROUTER_PCP | 1U << ROUTER_NAT_PMP}};

	scene.fd = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	if (scene.fd < 0 || socket_bind(scene.fd, &scene.request.router) != 0 ||
		socket_local(scene.fd, &scene.request.router) != 0)
		bail_out("no socket: %s", strerror(errno));
	return scene;
}

static void scene_end(struct scene *scene)
{
	router_end(&scene->router);
	router_end(&scene->router);
	close(scene->fd);
}

/* How many requests have come; the last is kept, and whom it is from. */
static int take_requests(struct scene *scene)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	ssize_t got;
	int count = 0;

	while ((got = recvfrom(scene->fd, scene->asked, sizeof(scene->asked), 0,
			(struct sockaddr *)&from, &length)) >= 0) {
		socket_to_addr(&from, &scene->client);
		scene->size = (size_t)got;
		count++;
		length = sizeof(from);
	}
	return count;
}

static void say_from(const struct scene *scene, int fd, const void *data, size_t size)
{
	struct sockaddr_storage to;
	socklen_t length = socket_from_addr(&scene->client, &to);

	if (sendto(fd, data, size, 0, (struct sockaddr *)&to, length) < 0)
		bail_out("sendto: %s", strerror(errno));
}

static void say(const struct scene *scene, const void *data, size_t size)
{
	say_from(scene, scene->fd, data, size);
}

static void say_pcp_from(struct scene *scene, int fd, uint8_t result, uint16_t port, uint8_t flip)
{
	uint8_t bytes[PCP_REQUEST_MAX] = {2, 0x81, 0, result, 0, 0, 0x0e, 0x10, 0, 0, 0, 77};

	memcpy(bytes + 24, scene->router.nonce, PCP_NONCE_SIZE);
	bytes[24] ^= flip;
	bytes[36] = 6;
	bytes[41] = 22;
	bytes[42] = (uint8_t)(port >> 8);
	bytes[43] = (uint8_t)port;
	memcpy(bytes + 54, (const uint8_t[]){0xff, 0xff, 100, 64, 0, 2}, 6);
	say_from(scene, fd, bytes, sizeof(bytes));
}

static void say_pcp(struct scene *scene, uint8_t result, uint16_t port)
{
	say_pcp_from(scene, scene->fd, result, port, 0);
}

static void say_address(const struct scene *scene)
{
	static const uint8_t bytes[] = {0, 128, 0, 0, 0, 0, 0, 77, 192, 0, 2, 66};

	say(scene, bytes, sizeof(bytes));
}

static void say_pmp(const struct scene *scene, uint8_t result, uint16_t port)
{
	uint8_t bytes[] = {0, 130, 0, result, 0, 0, 0, 77, 0, 22, (uint8_t)(port >> 8),
		(uint8_t)port, 0, 0, 0x0e, 0x10};

	say(scene, bytes, sizeof(bytes));
}

static enum router_state at(struct scene *scene, uint64_t ms)
{
	return router_advance(&scene->router, START + ms);
}

static struct scene start(const char *what)
{
	struct scene scene = scene_make();

	diag("%s", what);
	router_start(&scene.router, &scene.request, START);
	is_int(take_requests(&scene), 2, "both are asked");
	return scene;
}

static uint64_t due(const struct scene *scene)
{
	struct pollfd fds[ROUTER_WATCH_MAX];

	return router_watch(&scene->router, fds) - START;
}

static void test_pcp(void)
{
	struct scene scene = start("a router that speaks PCP");
	const struct router_result *result = &scene.router.result;
	char text[ADDR_IP_TEXT_SIZE];

	say_pcp(&scene, 0, 1024);
	is_int(at(&scene, 5), ROUTER_DONE, "it forwards");
	is_str(router_method_title(result->method), "PCP", "by PCP");
	is_uint(result->port, 1024, "another port");
	is_uint(result->lease, 3600, "for a time");
	is_uint(result->epoch, 77, "in an epoch");
	is_str(addr_format_ip(&result->external, text), "100.64.0.2", "and tells its address");
	is_int(take_requests(&scene), 0, "NAT-PMP is not asked to map");
	is_int(at(&scene, 5000), ROUTER_DONE, "and so it stays");
	scene_end(&scene);
}

static void test_nobody(void)
{
	struct scene scene = scene_make();

	diag("nobody listens");
	close(scene.fd);
	router_start(&scene.router, &scene.request, START);
	is_int(at(&scene, 0), ROUTER_SILENT, "which is known at once");
	is_int(scene.router.result.problem, ECONNREFUSED, "by ICMP");
	scene.request.methods = 1U << ROUTER_PCP;
	router_start(&scene.router, &scene.request, START);
	is_int(at(&scene, 0), ROUTER_SILENT, "with one protocol, too");
	is_int(scene.router.result.problem, ECONNREFUSED, "when nothing more is sent");
	scene.fd = -1;
	scene_end(&scene);
}

static void test_silence(void)
{
	struct scene scene = start("a router that says nothing");

	is_uint(due(&scene), ROUTER_SILENCE_MS, "it is waited for");
	is_int(at(&scene, ROUTER_SILENCE_MS - 1), ROUTER_ASKING, "for a while");
	is_int(at(&scene, ROUTER_SILENCE_MS), ROUTER_SILENT, "and no longer");
	is_int(take_requests(&scene), 0, "and not asked again");
	ok(!scene.router.result.heard && scene.router.result.problem == 0, "there is none");
	scene_end(&scene);
}

static void test_nat_pmp(void)
{
	struct scene scene = start("a router that speaks NAT-PMP, and is silent to PCP");
	char text[ADDR_IP_TEXT_SIZE];

	say_address(&scene);
	at(&scene, ROUTER_PATIENCE_MS - 1);
	is_int(take_requests(&scene), 0, "PCP has a while");
	is_uint(due(&scene), ROUTER_PATIENCE_MS, "of this length");
	at(&scene, ROUTER_PATIENCE_MS);
	is_int(take_requests(&scene), 1, "then NAT-PMP maps");
	is_uint(scene.asked[1], 2, "a TCP port");
	say_pmp(&scene, 0, 22);
	is_int(at(&scene, ROUTER_PATIENCE_MS + 1), ROUTER_DONE, "it forwards");
	is_int(scene.router.result.method, ROUTER_NAT_PMP, "by NAT-PMP");
	is_uint(scene.router.result.port, 22, "the port");
	is_str(addr_format_ip(&scene.router.result.external, text), "192.0.2.66", "of its address");
	scene_end(&scene);
}

static void test_nat_pmp_alone(void)
{
	static const uint8_t refusal[] = {0, 0x81, 0, 1, 0, 0, 0, 77};
	struct scene scene = start("a router that does not speak PCP, and says so");

	say(&scene, refusal, sizeof(refusal));
	say_address(&scene);
	at(&scene, 5);
	is_int(take_requests(&scene), 1, "NAT-PMP maps at once");
	say_pmp(&scene, 3, 0);
	is_int(at(&scene, 6), ROUTER_REFUSED, "it refuses");
	is_str(scene.router.result.refusal, "NETWORK_FAILURE", "as NAT-PMP has it");
	scene_end(&scene);
}

static void test_refusal(void)
{
	struct scene scene = start("a router that refuses");

	say_pcp(&scene, 2, 0);
	say_address(&scene);
	is_int(at(&scene, 5), ROUTER_ASKING, "PCP is not all");
	is_int(take_requests(&scene), 1, "NAT-PMP maps at once");
	say_pmp(&scene, 2, 0);
	is_int(at(&scene, 6), ROUTER_REFUSED, "both refuse");
	is_int(scene.router.result.method, ROUTER_PCP, "it is told of PCP");
	is_str(scene.router.result.refusal, "NOT_AUTHORIZED", "why");
	scene_end(&scene);
}

static void test_repeats(void)
{
	struct scene scene = start("a router that answers half of it");

	say_address(&scene);
	at(&scene, 120);
	is_int(take_requests(&scene), 1, "NAT-PMP is to map");
	at(&scene, 249);
	is_int(take_requests(&scene), 0, "no repetition before its time");
	at(&scene, 250);
	is_int(take_requests(&scene), 2, "both maps again");
	at(&scene, 751);
	is_int(take_requests(&scene), 2, "and once more");
	is_uint(due(&scene), ROUTER_DEADLINE_MS, "then nothing but the end");
	is_int(at(&scene, 1499), ROUTER_ASKING, "which comes late");
	is_int(take_requests(&scene), 0, "without a request");
	is_int(at(&scene, 1500), ROUTER_SILENT, "no answer to what was asked");
	ok(scene.router.result.heard, "but somebody is there");
	scene_end(&scene);
}

static void test_overtaken(void)
{
	struct scene scene = start("PCP is granted after NAT-PMP was asked");

	say_address(&scene);
	at(&scene, 120);
	take_requests(&scene);
	say_pcp(&scene, 0, 22);
	is_int(at(&scene, 130), ROUTER_ASKING, "the last word is NAT-PMP's");
	say_pmp(&scene, 0, 23);
	is_int(at(&scene, 140), ROUTER_DONE, "which comes");
	is_uint(scene.router.result.port, 23, "and counts");
	scene_end(&scene);

	scene = start("the same, and NAT-PMP has no word");
	say_address(&scene);
	at(&scene, 120);
	say_pcp(&scene, 0, 22);
	at(&scene, 130);
	is_int(at(&scene, 1500), ROUTER_DONE, "then PCP's counts");
	is_int(scene.router.result.method, ROUTER_PCP, "at the end");
	scene_end(&scene);
}

static void test_lies(void)
{
	static const uint8_t wrong_port[] = {0, 130, 0, 0, 0, 0, 0, 77, 0, 23, 0, 22, 0, 0, 1, 0};
	struct scene scene = start("lies");
	int stranger = socket_open(ADDR_IPV4, SOCK_DGRAM, 0);
	uint8_t large[1500] = {2, 0x81};

	say_pcp_from(&scene, scene.fd, 0, 4444, 1);
	say_pcp_from(&scene, stranger, 0, 4444, 0);
	say(&scene, "\2\x81\0", 3);
	say(&scene, "", 0);
	say(&scene, "\0\x82\0\0", 4);
	say(&scene, large, sizeof(large));
	say(&scene, wrong_port, sizeof(wrong_port));
	is_int(at(&scene, 5), ROUTER_ASKING, "none of them is an answer");
	is_int(take_requests(&scene), 0, "nor moves anything");
	is_int(at(&scene, 250), ROUTER_SILENT, "so nobody is there");
	ok(!scene.router.result.heard, "at all");
	close(stranger);
	scene_end(&scene);

	scene = start("a PCP answer to NAT-PMP");
	say(&scene, "\2\x80\0\2\0\0\0\0\0\0\0\5", 12);
	is_int(at(&scene, 5), ROUTER_ASKING, "says nothing");
	say_pcp(&scene, 0, 22);
	is_int(at(&scene, 6), ROUTER_DONE, "but PCP");
	scene_end(&scene);

	scene = start("a flood, and then the truth");
	for (int i = 0; i < 40; i++)
		say_pcp_from(&scene, scene.fd, 0, 4444, 1);
	say_pcp(&scene, 0, 22);
	is_int(at(&scene, 5), ROUTER_ASKING, "so much at once");
	is_int(at(&scene, 6), ROUTER_DONE, "and the rest next time");
	scene_end(&scene);
}

static void test_back(void)
{
	struct scene scene = scene_make();

	scene.request.lease = 0;
	diag("to forget a forward");
	router_start(&scene.router, &scene.request, START);
	is_int(take_requests(&scene), 2, "both are asked");
	ok(scene.size == 12 && scene.asked[6] == 0 && scene.asked[7] == 0 && scene.asked[11] == 0,
		"NAT-PMP by lifetime 0");
	say_pcp(&scene, 0, 0);
	is_int(at(&scene, 5), ROUTER_ASKING, "by both");
	say_pmp(&scene, 0, 0);
	is_int(at(&scene, 6), ROUTER_DONE, "it has forgotten");
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say_pcp(&scene, 2, 0);
	is_int(at(&scene, 5), ROUTER_ASKING, "PCP refuses what NAT-PMP has mapped");
	say_pmp(&scene, 0, 0);
	is_int(at(&scene, 6), ROUTER_DONE, "which NAT-PMP forgets");
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say_pcp(&scene, 2, 0);
	say_pmp(&scene, 2, 0);
	is_int(at(&scene, 6), ROUTER_REFUSED, "both refuse");
	scene.request.brief = true;
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say_pmp(&scene, 0, 0);
	is_int(at(&scene, 249), ROUTER_ASKING, "PCP is silent");
	is_int(at(&scene, 250), ROUTER_DONE, "it ends then in any case");
	scene_end(&scene);
}

/* What a router that speaks UPnP does is in upnp.c's test, and in the laboratory. */
static void test_no_upnp(void)
{
	struct scene scene = scene_make();

	diag("a router that does not speak UPnP");
	scene.request.methods = ROUTER_ALL_METHODS;
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say_pcp(&scene, 2, 0);
	say_address(&scene);
	is_int(at(&scene, 5), ROUTER_ASKING, "PCP refuses");
	say_pmp(&scene, 2, 0);
	is_int(at(&scene, 1499), ROUTER_ASKING, "NAT-PMP too, and UPnP has its time");
	is_int(at(&scene, 1500), ROUTER_REFUSED, "which ends");
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say_pcp(&scene, 0, 7200);
	is_int(at(&scene, 5), ROUTER_DONE, "a grant does not wait for it");
	scene.request.methods = 1U << ROUTER_UPNP;
	router_start(&scene.router, &scene.request, START);
	is_int(at(&scene, 249), ROUTER_ASKING, "UPnP alone");
	is_int(at(&scene, 250), ROUTER_SILENT, "nobody is there");
	router_end(&scene.router);
	scene.request.source.family = ADDR_IPV6;
	router_start(&scene.router, &scene.request, START);
	is_int(scene.router.state, ROUTER_SILENT, "UPnP is for IPv4");
	scene_end(&scene);
}

/* The router is asked what it speaks, and nothing else. */
static void test_look(void)
{
	static const uint8_t announce[24] = {2, 0x80, [11] = 77};
	static const uint8_t no_pcp[] = {0, 0x80, 0, 1, 0, 0, 0, 77};
	static const uint8_t no_address[] = {0, 128, 0, 3, 0, 0, 0, 77};
	struct scene scene = scene_make();
	const struct router_result *result = &scene.router.result;
	char text[ADDR_IP_TEXT_SIZE];

	diag("only to look");
	scene.request.look = true;
	scene.request.lease = 0;
	router_start(&scene.router, &scene.request, START);
	is_int(take_requests(&scene), 2, "both are asked");
	ok(scene.size == 2, "NAT-PMP for the address");
	say(&scene, announce, sizeof(announce));
	is_int(at(&scene, 4), ROUTER_ASKING, "PCP is there");
	say_address(&scene);
	is_int(at(&scene, 9), ROUTER_DONE, "and NAT-PMP");
	is_uint(result->methods, 3, "both are told");
	is_uint(result->answered_ms, 4, "and when the first word came");
	is_str(addr_format_ip(&result->external, text), "192.0.2.66", "with the address");
	is_int(take_requests(&scene), 0, "nothing is to be mapped");

	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say(&scene, no_pcp, sizeof(no_pcp));
	say(&scene, no_address, sizeof(no_address));
	is_int(at(&scene, 5), ROUTER_DONE, "NAT-PMP alone");
	is_uint(result->methods, 1U << ROUTER_NAT_PMP, "without PCP");
	is_str(result->refusal, "NETWORK_FAILURE", "which has no address");
	is_uint(result->external.family, ADDR_NONE, "so there is none");

	scene.request.methods = ROUTER_ALL_METHODS;
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	say(&scene, announce, sizeof(announce));
	is_int(at(&scene, 249), ROUTER_ASKING, "what is silent has its time");
	is_int(at(&scene, 250), ROUTER_DONE, "and no more");
	is_uint(result->methods, 1U << ROUTER_PCP, "it is not spoken");
	is_int(take_requests(&scene), 0, "nor asked for again");
	router_start(&scene.router, &scene.request, START);
	take_requests(&scene);
	is_int(at(&scene, 250), ROUTER_SILENT, "nobody is there");
	is_uint(result->methods, 0, "at all");
	scene_end(&scene);
}

static void test_nonce(void)
{
	static const struct router_secret other = {.bytes = "b machine", .size = 9};
	struct scene scene = scene_make();
	struct router before;

	router_start(&scene.router, &scene.request, START);
	before = scene.router;
	router_end(&before);
	scene.request.wish = 1024;
	router_start(&scene.router, &scene.request, START);
	ok(memcmp(before.nonce, scene.router.nonce, PCP_NONCE_SIZE) == 0, "the same nonce again");
	router_end(&scene.router);
	scene.request.port = 23;
	router_start(&scene.router, &scene.request, START);
	ok(memcmp(before.nonce, scene.router.nonce, PCP_NONCE_SIZE) != 0, "one for each port");
	router_end(&scene.router);
	scene.request.port = 22;
	scene.request.protocol = MAPPING_UDP;
	router_start(&scene.router, &scene.request, START);
	ok(memcmp(before.nonce, scene.router.nonce, PCP_NONCE_SIZE) != 0, "and protocol");
	router_end(&scene.router);
	scene.request.protocol = MAPPING_TCP;
	scene.request.secret = &other;
	router_start(&scene.router, &scene.request, START);
	ok(memcmp(before.nonce, scene.router.nonce, PCP_NONCE_SIZE) != 0, "and machine");
	scene_end(&scene);
}

static void test_methods(void)
{
	struct scene scene = scene_make();
	unsigned methods = 0;

	is_int(router_parse_methods("pcp,nat-pmp,upnp", &methods), 0, "a list");
	is_uint(methods, ROUTER_ALL_METHODS, "of all");
	is_int(router_parse_methods("nat-pmp", &methods), 0, "of one");
	is_uint(methods, 1U << ROUTER_NAT_PMP, "which is that");
	is_int(router_parse_methods("", &methods), -1, "of none");
	is_int(router_parse_methods("pcp,", &methods), -1, "without an end");
	is_int(router_parse_methods("pc", &methods), -1, "of a part");
	is_int(router_parse_methods("pcpx", &methods), -1, "of more");
	scene.request.methods = methods;
	router_start(&scene.router, &scene.request, START);
	is_int(take_requests(&scene), 1, "what is not in it is not asked");
	is_uint(scene.size, 2, "PCP");
	say_address(&scene);
	at(&scene, 1);
	is_int(take_requests(&scene), 1, "nor waited for");
	scene_end(&scene);
}

static void test_secret(void)
{
	struct router_secret one = {.size = 0}, again = {.size = 0};

	router_read_secret(&one);
	router_read_secret(&again);
	ok(one.size >= 32, "the machine has an id");
	ok(one.size == again.size && memcmp(one.bytes, again.bytes, one.size) == 0, "that stays");
}

int main(void)
{
	test_pcp();
	test_nobody();
	test_silence();
	test_nat_pmp();
	test_nat_pmp_alone();
	test_refusal();
	test_repeats();
	test_overtaken();
	test_lies();
	test_back();
	test_no_upnp();
	test_look();
	test_nonce();
	test_methods();
	test_secret();
	return done_testing();
}
