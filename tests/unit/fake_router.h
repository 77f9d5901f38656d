/*
 * A router that speaks UPnP as a test wants it to, in a child process: SSDP and HTTP at 127.0.0.2,
 * in a network of the test's own. And a stranger at 127.0.0.3, whom nobody may visit.
 *
 * What is asked of it stands in memory that both share before the answer goes out.
 */
#ifndef NATPUNCH_TESTS_FAKE_ROUTER_H
#define NATPUNCH_TESTS_FAKE_ROUTER_H

#include <stdatomic.h>

#include "natpunch/proto/ssdp.h"
#include "unit/server.h"

#define ROUTER_IP    "127.0.0.2"
#define STRANGER_IP  "127.0.0.3"
#define HTTP_PORT    5000
#define REQUESTS_MAX 16
#define REQUEST_SIZE 4096

#define ROUTER_URL        "http://" ROUTER_IP ":5000"
#define GATEWAY_TYPE      "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
#define LOCATED_AT(where) "HTTP/1.1 200 OK\r\nST: " GATEWAY_TYPE "\r\nLOCATION: " where "\r\n\r\n"

struct fake_router;

/* Answers one request on a connection, which is closed afterwards. */
typedef void fake_router_serve(const struct fake_router *router, int fd, const char *request);

struct fake_router {
	/* What it does. */
	const char *answers[24]; /* to each search, one datagram each; up to NULL */
	fake_router_serve *serve;
	const char *description;  /* for those that send one */
	unsigned deaf;            /* to so many searches */
	bool only_group;          /* answers nothing that was sent to it alone */
	const char *answers_from; /* another address */

	/* What it saw. */
	struct {
		atomic_uint searches;
		atomic_uint requests;
		char request[REQUESTS_MAX][REQUEST_SIZE];
	} * seen;
	pid_t pid;
};

static inline int listen_at(const char *ip, uint16_t port)
{
	struct addr at = address(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	socket_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (fd < 0 || socket_bind(fd, &at) != 0 || listen(fd, 20) != 0)
		bail_out("listening at %s: %s", ip, strerror(errno));
	return fd;
}

static inline int open_datagrams(const char *ip, uint16_t port)
{
	struct addr at = address(ip, port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || socket_bind(fd, &at) != 0)
		bail_out("datagrams at %s: %s", ip, strerror(errno));
	return fd;
}

static inline int open_group(void)
{
	struct ip_mreqn membership = {.imr_ifindex = (int)if_nametoindex("lo")};
	struct addr group = address(SSDP_GROUP, SSDP_PORT);
	int fd = open_datagrams(SSDP_GROUP, SSDP_PORT);

	memcpy(&membership.imr_multiaddr, group.ip, 4);
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof(membership)) != 0)
		bail_out("IP_ADD_MEMBERSHIP: %s", strerror(errno));
	return fd;
}

/* Answers come from a socket of their own, and so from a port that is not SSDP's. */
static inline void answer_search(const struct fake_router *router, int from, int to)
{
	struct sockaddr_storage client;
	socklen_t size = sizeof(client);
	char search[2048];

	if (recvfrom(from, search, sizeof(search), 0, (struct sockaddr *)&client, &size) <= 0 ||
		atomic_fetch_add(&router->seen->searches, 1) < router->deaf)
		return;
	for (size_t i = 0; router->answers[i] != NULL; i++)
		(void)sendto(to, router->answers[i], strlen(router->answers[i]), 0,
			(struct sockaddr *)&client, size);
}

/* Reads a request, with the body that a POST has. */
static inline void answer_request(const struct fake_router *router, int listener)
{
	static char request[REQUEST_SIZE];
	int fd = accept(listener, NULL, NULL);
	size_t used = 0, number;
	ssize_t got;

	be_patient(fd, PATIENCE);
	do {
		got = recv(fd, request + used, sizeof(request) - 1 - used, 0);
		if (got <= 0)
			exit(0); /* it gave up */
		used += (size_t)got;
		request[used] = '\0';
	} while (strstr(request, *request == 'G' ? "\r\n\r\n" : "</s:Envelope>") == NULL);
	number = router->seen->requests;
	if (number < REQUESTS_MAX)
		memcpy(router->seen->request[number], request, used + 1);
	atomic_store(&router->seen->requests, (unsigned)number + 1);
	router->serve(router, fd, request);
	close(fd);
}

static inline void router_main(const struct fake_router *router, struct pollfd fds[3], int from)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		(void)poll(fds, 3, -1);
		for (size_t i = 0; i < 2; i++)
			if (fds[i].revents != 0)
				answer_search(router, fds[i].fd, from);
		if (fds[2].revents != 0)
			answer_request(router, fds[2].fd);
	}
}

/* Starts; it answers from then on. */
static inline void router_start(struct fake_router *router)
{
	struct pollfd fds[3] = {
		{.fd = router->only_group ? -1 : open_datagrams(ROUTER_IP, SSDP_PORT),
			.events = POLLIN},
		{.fd = open_group(), .events = POLLIN},
		{.fd = listen_at(ROUTER_IP, HTTP_PORT), .events = POLLIN},
	};
	int from =
		open_datagrams(router->answers_from != NULL ? router->answers_from : ROUTER_IP, 0);

	router->seen = mmap(NULL, sizeof(*router->seen), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (router->seen == MAP_FAILED)
		bail_out("mmap: %s", strerror(errno));
	fflush(stdout);
	router->pid = fork();
	if (router->pid < 0)
		bail_out("fork: %s", strerror(errno));
	if (router->pid == 0)
		router_main(router, fds, from);
	for (size_t i = 0; i < 3; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	close(from);
}

static inline void router_stop(struct fake_router *router)
{
	kill(router->pid, SIGKILL);
	waitpid(router->pid, NULL, 0);
	munmap(router->seen, sizeof(*router->seen));
	router->seen = NULL;
}

/* --- what it serves --- */

/* A whole answer of this length. */
static inline void serve_body(int fd, const char *status, const char *body)
{
	char head[256];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status,
		strlen(body));
	(void)say(fd, head, strlen(head));
	(void)say(fd, body, strlen(body));
}

static inline void serve_fault(int fd, unsigned code)
{
	char body[128];

	snprintf(body, sizeof(body), "<a><UPnPError><errorCode>%u</errorCode></UPnPError></a>",
		code);
	serve_body(fd, "500 Internal Server Error", body);
}

/* The response to whatever action it is, with a value in it. */
static inline void serve_response(int fd, const char *request, const char *value)
{
	const char *action = strchr(strstr(request, "SOAPAction:"), '#') + 1;
	int size = (int)strcspn(action, "\"");
	char body[1024];

	snprintf(body, sizeof(body), "<s:Body><u:%.*sResponse>%s</u:%.*sResponse></s:Body>", size,
		action, value, size, action);
	serve_body(fd, "200 OK", body);
}

#endif
