/*
 * What a router is asked can be read back from the request; the services of a description are
 * found, the best first; and whatever is done to a URL or a document, what comes out of it leads to
 * the router and is fit to stand in a request.
 */
#include "natpunch/proto/igd_action.h"
#include "natpunch/proto/igd_description.h"
#include "natpunch/proto/ssdp.h"

#include "guard.h"
#include "random.h"
#include "tap.h"

#define ROUNDS   3000
#define TEXT_MAX 8000

static struct random rng;
static struct guard guard;
static char text[TEXT_MAX];
static size_t text_size;

static struct addr router = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}, .port = 5000};

static void put(const char *part)
{
	size_t size = strlen(part);

	memcpy(text + text_size, part, size + 1);
	text_size += size;
}

static void damage(char *data, size_t size)
{
	for (size_t flips = 1 + random_below(&rng, 4); flips > 0; flips--)
		data[random_below(&rng, size)] ^= (char)(1 << random_below(&rng, 8));
}

/* Of the characters that may stand in a path; those of XML among them where it does not matter. */
static struct http_url pick_url(bool xml)
{
	static const char all[] = "abz09AZ-._~/?@:!$'()*+,;=%\"{}|^`[]\\<>&";
	size_t kinds = sizeof(all) - (xml ? 4 : 1);
	size_t size = 1 + random_below(&rng, random_once(&rng, 2) ? 4 : HTTP_URL_PATH_SIZE - 1);
	struct http_url url = {.server = router, .path = "/"};

	url.server.port = (uint16_t)(1 + random_below(&rng, 65535));
	for (size_t i = 1; i < size; i++)
		url.path[i] = all[random_below(&rng, kinds)];
	return url;
}

static const char *write_url(const struct http_url *url)
{
	static char out[HTTP_URL_SIZE];
	char server[ADDR_TEXT_SIZE];

	snprintf(out, sizeof(out), "http://%s%s", addr_format(&url->server, server), url->path);
	return out;
}

static bool is_same(const struct http_url *a, const struct http_url *b)
{
	return addr_equal(&a->server, &b->server) && strcmp(a->path, b->path) == 0;
}

static bool is_safe(const struct http_url *url)
{
	if (!addr_equal_ip(&url->server, &router) || url->server.port == 0 || url->path[0] != '/' ||
		memchr(url->path, '\0', sizeof(url->path)) == NULL)
		return false;
	for (const char *at = url->path; *at != '\0'; at++)
		if (*at <= ' ' || *at > '~')
			return false;
	return true;
}

static bool url_holds(void)
{
	struct http_url made = pick_url(false), got = {.path = ""};
	char bent[HTTP_URL_SIZE];

	snprintf(bent, sizeof(bent), "%s", write_url(&made));
	if (http_url_read(bent, &router, &got) != 0 || !is_same(&made, &got) || !is_safe(&got))
		return false;
	damage(bent, strlen(bent));
	if (http_url_read(bent, &router, &got) == 0 && !is_safe(&got))
		return false;
	return http_url_resolve(bent, &made, &got) != 0 || is_safe(&got);
}

static bool search_answer_holds(bool damaged)
{
	struct http_url made = pick_url(false), got;
	char *at;
	int result;

	text_size = 0;
	put("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n");
	put("Location: ");
	put(write_url(&made));
	put("\r\n\r\n");
	at = (char *)guard_copy_end(&guard, text, text_size);
	if (damaged)
		damage(at, text_size);
	result = ssdp_read_answer(at, text_size, &router, &got);
	return damaged ? result != 0 || is_safe(&got) : result == 0 && is_same(&made, &got);
}

/* A service, in a document that has more or less around it. */
static void put_service(const struct igd_service *service)
{
	bool url_first = random_once(&rng, 2);

	put(random_once(&rng, 4) ? "<x:service a='>'>\n" : "<service>");
	for (int i = 0; i < 2; i++) {
		if ((i == 0) == url_first) {
			put("<controlURL>");
			put(write_url(&service->control));
			put("</controlURL>");
		} else {
			put("<serviceType> ");
			put(igd_service_name(service->type));
			put("\n</serviceType>");
		}
		if (random_once(&rng, 4))
			put("<!-- <service> --><eventSubURL/><other>&amp;</other>");
	}
	put("</service>");
}

static struct igd_service made[6];
static size_t made_count;

static void make_description(void)
{
	text_size = 0;
	made_count = random_below(&rng, sizeof(made) / sizeof(made[0]) + 1);
	put("<?xml version=\"1.0\"?><root>");
	for (size_t i = 0; i < made_count; i++) {
		made[i].type = (enum igd_service_type)random_below(&rng, IGD_SERVICE_TYPES);
		made[i].control = pick_url(true);
		put_service(&made[i]);
	}
	put("</root>\r\n");
}

/* How many of those that were made are to come before this one. */
static size_t rank_of(size_t index)
{
	size_t rank = 0;

	for (size_t i = 0; i < made_count; i++)
		rank += made[i].type < made[index].type ||
			(made[i].type == made[index].type && i < index);
	return rank;
}

static struct igd_description description;

static bool read_description(void)
{
	struct http_url place = {.server = router, .path = "/a/b.xml"};
	char *at = (char *)guard_copy_end(&guard, text, text_size);
	size_t cut = random_below(&rng, text_size + 1);

	igd_description_start(&description, &place);
	igd_description_take(&description, at, cut);
	igd_description_take(&description, at + cut, text_size - cut);
	return igd_description_end(&description);
}

static bool description_holds(void)
{
	make_description();
	if (!read_description() ||
		description.count !=
			(made_count < IGD_SERVICES_MAX ? made_count : IGD_SERVICES_MAX))
		return false;
	for (size_t i = 0; i < made_count; i++) {
		size_t rank = rank_of(i);

		if (rank < IGD_SERVICES_MAX &&
			(description.services[rank].type != made[i].type ||
				!is_same(&description.services[rank].control, &made[i].control)))
			return false;
	}
	return true;
}

static bool damaged_description_holds(void)
{
	bool is_good;

	make_description();
	damage(text, text_size);
	is_good = read_description();
	if (description.count > IGD_SERVICES_MAX || (!is_good && description.count != 0))
		return false;
	for (size_t i = 0; i < description.count; i++)
		if (description.services[i].type >= IGD_SERVICE_TYPES ||
			!is_safe(&description.services[i].control))
			return false;
	return true;
}

/* The text of an element of a request. */
static const char *value_of(const char *request, const char *name)
{
	static struct xml_scan scan;
	const char *value;

	memset(&scan, 0, sizeof(scan));
	for (const char *at = strstr(request, "\r\n\r\n") + 4; *at != '\0'; at++)
		if (xml_scan_take(&scan, *at) == XML_SCAN_END &&
			strcmp(xml_scan_name(&scan), name) == 0) {
			value = xml_scan_text(&scan);
			return value != NULL ? value : "";
		}
	return "";
}

static bool says(const char *request, const char *name, unsigned long number)
{
	char want[32];

	snprintf(want, sizeof(want), "%lu", number);
	return strcmp(value_of(request, name), want) == 0;
}

static bool request_holds(void)
{
	enum igd_action action = random_once(&rng, 2) ? IGD_ADD : IGD_ADD_ANY;
	struct igd_service service = {
		.type = (enum igd_service_type)random_below(&rng, IGD_SERVICE_TYPES),
		.control = pick_url(false)};
	struct igd_mapping mapping = {.protocol = random_once(&rng, 2) ? MAPPING_TCP : MAPPING_UDP,
		.external_port = (uint16_t)random_number(&rng),
		.lease = (uint32_t)random_number(&rng),
		.internal = {.family = ADDR_IPV4, .port = (uint16_t)random_number(&rng)}};
	char request[IGD_REQUEST_SIZE], ip[ADDR_IP_TEXT_SIZE], start[HTTP_URL_SIZE];
	size_t size;

	random_fill(&rng, mapping.internal.ip, 4);
	size = igd_write_request(action, &service, &mapping, request);
	snprintf(start, sizeof(start), "POST %s HTTP/1.1\r\n", service.control.path);
	return size == strlen(request) && strncmp(request, start, strlen(start)) == 0 &&
	       says(request, "NewExternalPort", mapping.external_port) &&
	       says(request, "NewInternalPort", mapping.internal.port) &&
	       says(request, "NewLeaseDuration", mapping.lease) &&
	       strcmp(value_of(request, "NewInternalClient"),
		       addr_format_ip(&mapping.internal, ip)) == 0 &&
	       strcmp(value_of(request, "NewProtocol"),
		       mapping.protocol == MAPPING_TCP ? "TCP" : "UDP") == 0;
}

static bool answer_holds(bool damaged)
{
	unsigned code = (unsigned)(1 + random_below(&rng, 999));
	struct igd_answer answer;
	char *at, fault[64];

	snprintf(fault, sizeof(fault), "<errorCode>%u</errorCode>", code);
	text_size = 0;
	put("<s:Envelope><s:Body><s:Fault><detail>");
	put(fault);
	put("</detail></s:Fault></s:Body></s:Envelope>");
	at = (char *)guard_copy_end(&guard, text, text_size);
	if (damaged)
		damage(at, text_size);
	igd_answer_start(&answer, IGD_ADD);
	igd_answer_take(&answer, at, text_size);
	if (damaged)
		return answer.error <= 999;
	return igd_answer_end(&answer) && answer.error == code;
}

static void holds(bool (*property)(void), const char *name)
{
	int round;

	for (round = 0; round < ROUNDS && property(); round++)
		;
	is_int(round, ROUNDS, "%s", name);
}

static bool good_search_answer_holds(void)
{
	return search_answer_holds(false);
}

static bool damaged_search_answer_holds(void)
{
	return search_answer_holds(true);
}

static bool good_answer_holds(void)
{
	return answer_holds(false);
}

static bool damaged_answer_holds(void)
{
	return answer_holds(true);
}

int main(void)
{
	rng = random_start();
	guard = guard_make(TEXT_MAX);
	holds(url_holds, "a URL comes back, and a bent one leads nowhere else");
	holds(good_search_answer_holds, "an answer to a search");
	holds(damaged_search_answer_holds, "a damaged one leads nowhere else");
	holds(description_holds, "the services of a description, the best first");
	holds(damaged_description_holds, "those of a damaged one lead nowhere else");
	holds(request_holds, "a request says what it is to say");
	holds(good_answer_holds, "a fault's code");
	holds(damaged_answer_holds, "and of a damaged one");
	return done_testing();
}
