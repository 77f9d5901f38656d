/* Descriptions of routers: which services are found, in which order, and where they lead. */
#include "natpunch/proto/igd_description.h"

#include "tap.h"

static struct igd_description description;
static const struct http_url place = {
	.server = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}, .port = 5000},
	.path = "/igd/d.xml",
};

#define TYPE(name)         "<serviceType>urn:schemas-upnp-org:service:" name "</serviceType>"
#define CONTROL(url)       "<controlURL>" url "</controlURL>"
#define SERVICE(name, url) "<service>" TYPE(name) CONTROL(url) "</service>"
#define DOCUMENT(services) "<?xml version=\"1.0\"?><root><device>" services "</device></root>\n"
#define IP1                "WANIPConnection:1"
#define IP2                "WANIPConnection:2"
#define PPP1               "WANPPPConnection:1"

/* What is found: "TYPE PORT PATH;" of each, or "bad". */
static const char *read_text(const char *text)
{
	static char found[4096];
	size_t at = 0;

	found[0] = '\0';
	igd_description_start(&description, &place);
	igd_description_take(&description, text, strlen(text));
	if (!igd_description_end(&description))
		return description.count == 0 ? "bad" : "bad, with services";
	for (size_t i = 0; i < description.count; i++) {
		const struct igd_service *service = &description.services[i];
		const char *name = igd_service_name(service->type);

		at += (size_t)snprintf(found + at, sizeof(found) - at, "%s %u %s;",
			name + strlen("urn:schemas-upnp-org:service:"),
			service->control.server.port, service->control.path);
	}
	return found;
}

/* The one of miniupnpd 2.3.1, without what does not matter here. */
static void test_real(void)
{
	static const char text[] =
		"<?xml version=\"1.0\"?>\r\n"
		"<root xmlns=\"urn:schemas-upnp-org:device-1-0\" configId=\"1337\">"
		"<specVersion><major>1</major><minor>1</minor></specVersion><device>"
		"<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:2</deviceType>"
		"<friendlyName>R&amp;D's router</friendlyName><serviceList><service>"
		"<serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>"
		"<controlURL>/ctl/L3F</controlURL><eventSubURL>/evt/L3F</eventSubURL></service>"
		"</serviceList><deviceList><device><serviceList><service>"
		"<serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1"
		"</serviceType><controlURL>/ctl/CmnIfCfg</controlURL></service></serviceList>"
		"<deviceList><device><serviceList><service>"
		"<serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType>"
		"<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>"
		"<SCPDURL>/WANIPCn.xml</SCPDURL><controlURL>/ctl/IPConn</controlURL>"
		"<eventSubURL>/evt/IPConn</eventSubURL></service><service>"
		"<serviceType>urn:schemas-upnp-org:service:WANIPv6FirewallControl:1"
		"</serviceType><controlURL>/ctl/IP6FCtl</controlURL></service></serviceList>"
		"</device></deviceList></device></deviceList>"
		"<presentationURL>http://10.0.0.1/</presentationURL></device></root>";

	is_str(read_text(text), IP2 " 5000 /ctl/IPConn;", "a real one");
}

static void test_order(void)
{
	is_str(read_text(DOCUMENT(SERVICE(PPP1, "/p") SERVICE(IP1, "/1") SERVICE(IP2, "/2"))),
		IP2 " 5000 /2;" IP1 " 5000 /1;" PPP1 " 5000 /p;", "by preference");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "/a") SERVICE(IP1, "/b") SERVICE(IP1, "/c"))),
		IP1 " 5000 /a;" IP1 " 5000 /b;" IP1 " 5000 /c;", "then as they come");
	is_str(read_text(DOCUMENT(SERVICE(PPP1, "/p") SERVICE(PPP1, "/q") SERVICE(PPP1, "/r")
			       SERVICE(PPP1, "/s") SERVICE(IP1, "/1") SERVICE(PPP1, "/t"))),
		IP1 " 5000 /1;" PPP1 " 5000 /p;" PPP1 " 5000 /q;" PPP1 " 5000 /r;",
		"the last one goes where there are too many");
	is_str(read_text(DOCUMENT(SERVICE("WANIPConnection:3", "/3") SERVICE("x", "/x"))), "",
		"no others");
}

static void test_urls(void)
{
	is_str(read_text(DOCUMENT(SERVICE(IP1, "ctl"))), IP1 " 5000 /igd/ctl;", "in its folder");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "http://10.0.0.1:49000/c"))), IP1 " 49000 /c;",
		"another port");
	is_str(read_text(DOCUMENT("<URLBase>http://10.0.0.1:81/x/</URLBase>" SERVICE(IP1, "c"))),
		IP1 " 81 /x/c;", "another base");
	is_str(read_text(DOCUMENT("<URLBase>http://10.0.0.2:81/</URLBase>" SERVICE(IP1, "/c"))),
		IP1 " 5000 /c;", "no base at another host");
	is_str(read_text(DOCUMENT("<URLBase></URLBase>" SERVICE(IP1, "/c"))), IP1 " 5000 /c;",
		"an empty base");
	is_str(read_text(DOCUMENT(SERVICE(IP2, "http://203.0.113.2:80/c") SERVICE(IP1, "/c"))),
		IP1 " 5000 /c;", "nothing at another host");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "/c HTTP/1.1\r\nX: y"))), "", "a line's end");
	is_str(read_text(DOCUMENT(SERVICE(IP1, ""))), "", "an empty URL");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "/c&amp;d"))), "", "a reference");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "/c<x/>"))), "", "an element in a URL");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "<![CDATA[/c]]>"))), "", "what is no plain text");
}

/* What belongs to one service does not help another. */
static void test_parts(void)
{
	is_str(read_text(DOCUMENT(
		       "<service>" TYPE(IP1) "</service><service>" CONTROL("/c") "</service>")),
		"", "two halves");
	is_str(read_text(DOCUMENT(
		       "<service>" CONTROL("/c") "</service><service>" TYPE(IP1) "</service>")),
		"", "the other way round");
	is_str(read_text(DOCUMENT(TYPE(IP1) CONTROL("/c"))), "", "outside a service");
	is_str(read_text(DOCUMENT("<service>" CONTROL("/c") TYPE(IP1) "</service>" CONTROL("/d"))),
		IP1 " 5000 /c;", "in another order");
	is_str(read_text(DOCUMENT("<service>" TYPE(IP1) CONTROL("/c")
			       CONTROL("http://10.0.0.2/") "</service>")),
		"", "the last URL counts");
	is_str(read_text("<a:root xmlns:a='b'><a:service><a:serviceType>\n"
			 "  urn:schemas-upnp-org:service:WANIPConnection:1\n</a:serviceType>"
			 "<a:controlURL> /c </a:controlURL></a:service></a:root>"),
		IP1 " 5000 /c;", "prefixes and blanks");
}

static void repeat(char *text, size_t size, const char *part)
{
	size_t length = strlen(part);

	for (size_t i = 0; i + 1 < size; i++)
		text[i] = part[i % length];
	text[size - 1] = '\0';
}

static void test_refused(void)
{
	static const char good[] = DOCUMENT(SERVICE(IP1, "/c"));
	static char text[140000];

	is_str(read_text("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY a \"ha\"><!ENTITY b "
			 "\"&a;&a;\">]><root>" SERVICE(IP1, "/&b;") "</root>"),
		"bad", "entities");
	is_str(read_text(DOCUMENT(SERVICE(IP1, "/c")) "</a>"), "bad", "an end without a start");
	is_str(read_text(""), "", "nothing");
	repeat(text, sizeof(text), "<service>");
	is_str(read_text(text), "bad", "thousands of open elements");
	repeat(text, sizeof(text), "<service><serviceType>x");
	is_str(read_text(text), "bad", "thousands of others");
	repeat(text, sizeof(text), "<");
	is_str(read_text(text), "bad", "thousands of marks");
	for (size_t size = strlen("<?xml version=\"1.0\"?><r"); size < strlen(good) - 1; size++) {
		igd_description_start(&description, &place);
		igd_description_take(&description, good, size);
		if (igd_description_end(&description) || description.count != 0)
			fail("cut to %zu bytes", size);
	}
}

int main(void)
{
	test_real();
	test_order();
	test_urls();
	test_parts();
	test_refused();
	return done_testing();
}
