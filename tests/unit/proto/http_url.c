/* URLs that lead to one server, and all those that would lead elsewhere. */
#include "natpunch/proto/http_url.h"

#include "tap.h"

static struct addr server = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}, .port = 1900};

static void reads(const char *text, const char *want)
{
	struct http_url url;
	char host[ADDR_TEXT_SIZE], got[ADDR_TEXT_SIZE + HTTP_URL_PATH_SIZE];

	if (!ok(http_url_read(text, &server, &url) == 0, "a URL: %s", text))
		return;
	snprintf(got, sizeof(got), "%s%s", addr_format(&url.server, host), url.path);
	is_str(got, want, "its parts");
}

static void test_read(void)
{
	static const char *const refused[] = {"", "http://", "http:///d.xml", "10.0.0.1/d.xml",
		"https://10.0.0.1/d.xml", "file:///etc/passwd", "//10.0.0.1/d.xml",
		"http://10.0.0.2/d.xml", "http://203.0.113.2:80/d.xml", "http://evil.example/d.xml",
		"http://localhost/", "http://10.0.0.1:80@203.0.113.2/d.xml",
		"http://me@10.0.0.1/d.xml", "http://10.0.0.1.evil.example/", "http://10.0.0.1:/",
		"http://10.0.0.1:0/", "http://10.0.0.1:65536/", "http://10.0.0.1:-1/",
		"http://10.0.0.1:80:80/", "http://10.0.0.1 /", "http:// 10.0.0.1/",
		"http://10.0.0.01/", "http://167772161/", "http://0x0a000001/", "http://[::1]/",
		"http://[::ffff:10.0.0.1]/", "http://10.0.0.1?/", "http://10.0.0.1\\/",
		"http://10.0.0.1/a b", "http://10.0.0.1/a\r\nX: y", "http://10.0.0.1/a\tb",
		"http://10.0.0.1/a#b", "http://10.0.0.1/\x7f", "http://10.0.0.1/\xc3\xa9",
		"http://10.0.0.1/\x80"};
	struct http_url url = {.path = "as it was"};

	reads("http://10.0.0.1:5000/rootDesc.xml", "10.0.0.1:5000/rootDesc.xml");
	reads("http://10.0.0.1/", "10.0.0.1:80/");
	reads("HTTP://10.0.0.1", "10.0.0.1:80/");
	reads("http://10.0.0.1:65535/a?b=http://203.0.113.2/&c@d:1",
		"10.0.0.1:65535/a?b=http://203.0.113.2/&c@d:1");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		ok(http_url_read(refused[i], &server, &url) == -1, "none: %s", refused[i]);
	is_str(url.path, "as it was", "what is refused changes nothing");
	server.family = ADDR_IPV6;
	ok(http_url_read("http://10.0.0.1/", &server, &url) == -1, "another family");
	server.family = ADDR_IPV4;
}

static void test_length(void)
{
	char text[64 + HTTP_URL_PATH_SIZE] = "http://10.0.0.1:5000/";
	size_t start = strlen(text) - 1;
	struct http_url url;

	memset(text + start + 1, 'a', HTTP_URL_PATH_SIZE - 2);
	is_int(http_url_read(text, &server, &url), 0, "the longest path");
	is_uint(strlen(url.path), HTTP_URL_PATH_SIZE - 1, "is there whole");
	strcat(text, "a");
	is_int(http_url_read(text, &server, &url), -1, "one longer is refused");
}

static void resolves(const char *text, const char *base_path, const char *want)
{
	struct http_url base = {.server = server}, url;
	char host[ADDR_TEXT_SIZE], got[ADDR_TEXT_SIZE + HTTP_URL_PATH_SIZE];

	base.server.port = 5000;
	snprintf(base.path, sizeof(base.path), "%s", base_path);
	if (http_url_resolve(text, &base, &url) != 0)
		snprintf(got, sizeof(got), "none");
	else
		snprintf(got, sizeof(got), "%s%s", addr_format(&url.server, host), url.path);
	is_str(got, want, "\"%s\" of %s", text, base_path);
}

static void test_resolve(void)
{
	char longest[HTTP_URL_PATH_SIZE], too_long[HTTP_URL_PATH_SIZE + 1];

	resolves("/ctl/IPConn", "/rootDesc.xml", "10.0.0.1:5000/ctl/IPConn");
	resolves("ctl", "/rootDesc.xml", "10.0.0.1:5000/ctl");
	resolves("ctl", "/a/b/rootDesc.xml?x=/y/z", "10.0.0.1:5000/a/b/ctl");
	resolves("?ctl", "/a/", "10.0.0.1:5000/a/?ctl");
	resolves("/uuid:1/ctl", "/", "10.0.0.1:5000/uuid:1/ctl");
	resolves("http://10.0.0.1:49000/ctl", "/", "10.0.0.1:49000/ctl");
	resolves("//203.0.113.2/ctl", "/", "10.0.0.1:5000//203.0.113.2/ctl");
	resolves("http://203.0.113.2:80/ctl", "/", "none");
	resolves("https://10.0.0.1/ctl", "/", "none");
	resolves("uuid:1", "/", "none");
	resolves("", "/", "none");
	resolves("/ctl HTTP/1.1\r\nX: y", "/", "none");
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	memset(too_long, 'a', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	resolves(too_long, "/", "none");
	resolves(longest + 2, "/a/b/c", "none");
}

int main(void)
{
	test_read();
	test_length();
	test_resolve();
	return done_testing();
}
