/*
 * The order of what is tried after a router has granted a port. Nothing is sent, except that the
 * punch from the router's port asks a reflector that is not there.
 */
#include "natpunch/client/forward.h"
#include "natpunch/client/forward_search.h"

#include <string.h>
#include <unistd.h>

#include "natpunch/os/clock.h"
#include "natpunch/os/log.h"
#include "tap.h"

static const struct host_port nobody = {.host = "127.0.0.1", .port = 1};

static struct addr make_address(const char *ip, uint16_t port)
{
	struct addr addr;

	if (addr_parse_ip(&addr, ip) != 0)
		bail_out("no address: %s", ip);
	addr.port = port;
	return addr;
}

struct scene {
	struct mapping_race_request request;
	struct mapping_race_result result;
	struct forward forward;
};

/* The reflector saw `seen` of port 22; the router forwards its port, and claims an address. */
static struct scene scene_make(const char *ip, uint16_t seen, uint16_t port, const char *external)
{
	struct scene scene = {
		.request = {.reflectors = &nobody,
			.reflector_count = 1,
			.protocol = MAPPING_TCP,
			.local = {.port = 22},
			.method = &borrow_method_bind},
		.forward = {.asked = true,
			.state = ROUTER_DONE,
			.result = {.method = ROUTER_PCP, .port = port, .lease = 7200}},
	};

	scene.forward.result.router = make_address("10.0.0.1", 0);
	scene.forward.result.external = make_address(external, 0);
	scene.result.mapping.public_addr = make_address(ip, seen);
	scene.result.mapping.local = make_address("10.0.0.3", 22);
	scene.result.winner.port.fd = -1;
	return scene;
}

static enum forward_step next(struct scene *scene)
{
	return forward_next(
		&scene->forward, &scene->request, &scene->result, clock_now_ms() + 2000);
}

static void tries(struct scene *scene, uint16_t port, const char *what)
{
	is_int(next(scene), FORWARD_TRY, "%s", what);
	is_uint(scene->result.mapping.public_addr.port, port, "that port");
}

static void test_none(void)
{
	struct scene scene = scene_make("192.0.2.1", 201, 22, "192.0.2.1");

	scene.forward.state = ROUTER_REFUSED;
	tries(&scene, 201, "a router that refuses: what was seen");
	is_int(next(&scene), FORWARD_END, "and nothing else");
	scene = scene_make("2001:db8::1", 22, 23, "2001:db8::1");
	tries(&scene, 22, "IPv6: what was seen");
	is_int(next(&scene), FORWARD_END, "and nothing else");
}

static void test_same(void)
{
	struct scene scene = scene_make("192.0.2.1", 22, 22, "192.0.2.1");

	tries(&scene, 22, "all ports are one");
	is_int(next(&scene), FORWARD_END, "there is no other");
}

static void test_alone(void)
{
	struct scene scene = scene_make("192.0.2.1", 201, 22, "192.0.2.1");

	tries(&scene, 22, "the only NAT, which changes ports: its own first");
	tries(&scene, 201, "then what was seen");
	is_int(next(&scene), FORWARD_END, "no more");

	scene = scene_make("192.0.2.1", 1024, 1024, "192.0.2.1");
	tries(&scene, 1024, "the only NAT, which sends from the port: what was seen");
	is_int(next(&scene), FORWARD_LOST, "then a punch from there");
}

static void test_beyond(void)
{
	struct scene scene = scene_make("192.0.2.1", 40022, 22, "100.64.0.2");

	tries(&scene, 40022, "a NAT beyond it: what was seen");
	tries(&scene, 22, "and at last the router's port");
	is_int(next(&scene), FORWARD_END, "no more");

	scene = scene_make("192.0.2.1", 40022, 1024, "100.64.0.2");
	tries(&scene, 40022, "another port: what was seen");
	is_int(next(&scene), FORWARD_LOST, "then a punch from there");
}

static void test_note(void)
{
	struct scene scene = scene_make("192.0.2.1", 201, 22, "192.0.2.1");
	struct mapping mapping = {.router_port = 0};

	scene.forward.state = ROUTER_REFUSED;
	forward_note(&scene.forward, &mapping);
	is_uint(mapping.router.family, ADDR_NONE, "what is refused is not noted");
	scene.forward.state = ROUTER_DONE;
	forward_note(&scene.forward, &mapping);
	is_uint(mapping.router_port, 22, "a port is");
	is_uint(mapping.lease, 7200, "its lease");
	is_str(mapping.router_method, "pcp", "and the protocol");
	scene.forward.state = ROUTER_SILENT;
	forward_note(&scene.forward, &mapping);
	is_uint(mapping.router_port, 0, "what it does no more is taken away");
}

/* The port that was granted for one local port is not asked for for another. */
static void test_wish(void)
{
	struct scene scene = scene_make("192.0.2.1", 22, 22, "192.0.2.1");
	struct forward_options options = {.lease = 7200, .wish = {1024}, .wish_port = 22};
	struct addr remote = make_address("192.0.2.9", 3478);
	struct router_request question;

	scene.request.local = make_address("10.0.0.3", 22);
	options.router = make_address("10.0.0.1", 0);
	ok(forward_plan(&scene.request, &options, &remote, false, &question), "somebody is asked");
	is_uint(question.wish, 1024, "for the port of last time");
	scene.request.local.port = 2222;
	ok(forward_plan(&scene.request, &options, &remote, false, &question), "for another port");
	is_uint(question.wish, 2222, "for that one");
}

/* A name server that never answers. */
static pid_t start_nothing(
	const void *context, const struct host_port *host, enum addr_family family, int fd)
{
	pid_t pid = fork();

	(void)context;
	(void)host;
	(void)family;
	(void)fd;
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* One of several reflectors whose name is not found does not take all of the time. */
static void test_look_up(void)
{
	static const struct host_port reflectors[] = {
		{.host = "reflector.example.org", .port = 3478},
		{.host = "127.0.0.1", .port = 3478},
	};
	const struct resolve_helper helper = {.start = start_nothing};
	const struct mapping_race_request request = {.reflectors = reflectors,
		.reflector_count = 2,
		.family = ADDR_IPV4,
		.resolver = &helper};
	const struct mapping_race_request *requests[] = {&request};
	const struct forward_options options = {.lease = 7200};
	struct forward forward;
	struct forward *const forwards[] = {&forward};
	uint64_t deadline = clock_now_ms() + 15000;

	forward_ask(forwards, requests, 1, &options, deadline);
	is_uint(forward.remote.family, ADDR_IPV4, "the next one is asked about");
	ok(clock_now_ms() < deadline, "in time");
	ok(!forward.asked, "though no router leads to it");
}

static void test_explained(void)
{
	struct scene scene = scene_make("192.0.2.1", 22, 22, "100.64.0.2");
	struct error error;

	error_set(&error, EXIT_STATUS_UNREACHABLE, "shut");
	forward_hint(&scene.forward, &scene.request, &error);
	ok(strstr(error.hint, "10.0.0.1 forwards, but") != NULL, "it forwards in vain");
	scene.forward.state = ROUTER_REFUSED;
	scene.forward.result.result = PCP_RESULT_NOT_AUTHORIZED;
	scene.forward.result.forbidden = true;
	scene.forward.result.refusal = "NOT_AUTHORIZED";
	forward_hint(&scene.forward, &scene.request, &error);
	ok(strstr(error.hint, "from 1024") != NULL, "it refuses port 22");
	ok(strstr(error.hint, ": natpunch probe -k -F -r 127.0.0.1") != NULL,
		"which -k finds a way to");
	ok(forward_is_forbidden(&scene.forward), "that is by a rule");
	scene.request.protocol = MAPPING_UDP;
	forward_hint(&scene.forward, &scene.request, &error);
	ok(strstr(error.hint, "-k") == NULL, "but not for UDP");
	scene.request.protocol = MAPPING_TCP;
	scene.request.local.port = 2222;
	forward_hint(&scene.forward, &scene.request, &error);
	ok(strstr(error.hint, "refuses to forward port 2222") != NULL, "or any");
	scene.forward.result.result = PCP_RESULT_NO_RESOURCES;
	scene.forward.result.forbidden = false;
	ok(!forward_is_forbidden(&scene.forward), "that is not");
	forward_hint(&scene.forward, &scene.request, &error);
	ok(strstr(error.hint, "another NAT") != NULL, "it knows of another NAT");
	error_set(&error, EXIT_STATUS_NETWORK, "silence");
	forward_hint(&scene.forward, &scene.request, &error);
	is_str(error.hint, "", "what nobody tried needs no reason");
}

int main(void)
{
	log_set_level(LOG_LEVEL_QUIET);
	test_none();
	test_same();
	test_alone();
	test_beyond();
	test_note();
	test_wish();
	test_look_up();
	test_explained();
	return done_testing();
}
