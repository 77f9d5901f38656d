/* The question for a router, and which answers count. */
#include "natpunch/proto/ssdp.h"

#include "tap.h"

static const struct addr router = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}};

#define OK "HTTP/1.1 200 OK\r\n"
#define ST "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
#define AT "LOCATION: http://10.0.0.1:5000/rootDesc.xml\r\n"

static int read_answer(const char *text, struct http_url *url)
{
	return ssdp_read_answer(text, strlen(text), &router, url);
}

static void test_search(void)
{
	char search[SSDP_SEARCH_SIZE];
	size_t size = ssdp_write_search(2, search);

	is_str(search,
		"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n"
		"MX: 1\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\n\r\n",
		"a search for version 2");
	is_uint(size, strlen(search), "its length");
}

static void test_answers(void)
{
	/* As miniupnpd 2.3.1 answers. */
	static const char full[] =
		"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n" ST
		"USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n"
		"SERVER: Debian/12 UPnP/1.1 MiniUPnPd/2.3.1\r\n" AT
		"OPT: \"http://schemas.upnp.org/upnp/1/0/\"; ns=01\r\n01-NLS: 1\r\n\r\n";
	struct http_url url = {.path = "as it was"};

	is_int(read_answer(full, &url), 0, "an answer");
	is_str(url.path, "/rootDesc.xml", "its path");
	is_uint(url.server.port, 5000, "its port");
	is_int(read_answer("http/1.1 200 ok\nst:x:InternetGatewayDevice:2\nlocation:http://"
			   "10.0.0.1/d\n",
		       &url),
		0, "one that is written otherwise");
	is_str(url.path, "/d", "its path");
	is_uint(url.server.port, 80, "its port");
}

static void test_refused(void)
{
	static const char *const refused[] = {"", "\r\n", OK, OK ST, OK AT,
		"HTTP/1.1 404 Not Found\r\n" ST AT, "NOTIFY * HTTP/1.1\r\n" ST AT,
		"M-SEARCH * HTTP/1.1\r\n" ST AT,
		OK "ST: urn:schemas-upnp-org:device:MediaServer:1\r\n" AT, OK "XST: x\r\n" AT,
		OK ST "LOCATION: http://203.0.113.2:80/d.xml\r\n",
		OK ST "LOCATION: http://evil.example:80/d.xml\r\n",
		OK ST "LOCATION: file:///etc/passwd\r\n",
		OK ST "LOCATION: http://10.0.0.1:80@203.0.113.2/d.xml\r\n",
		OK ST "LOCATION: http://10.0.0.1/a\rX\r\n", OK ST "LOCATION: http://10.0.0.1/a"};
	char text[1500] = OK ST "LOCATION: http://10.0.0.1/";
	struct http_url url = {.path = "as it was"};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		ok(read_answer(refused[i], &url) == -1, "none: %s", refused[i]);
	ok(ssdp_read_answer(OK ST AT "\0", strlen(OK ST AT) + 1, &router, &url) == -1, "a NUL");
	memset(text + strlen(text), 'a', 1200);
	strcat(text, "\r\n");
	ok(read_answer(text, &url) == -1, "a URL that is too long");
	is_str(url.path, "as it was", "what is refused changes nothing");
	for (size_t size = 0; size < strlen(OK ST AT); size++)
		if (ssdp_read_answer(OK ST AT, size, &router, &url) == 0)
			fail("cut to %zu bytes", size);
}

int main(void)
{
	test_search();
	test_answers();
	test_refused();
	return done_testing();
}
