/* Requests to a router as they have to be, and what its answers say. */
#include "natpunch/proto/igd_action.h"

#include "tap.h"

static struct igd_service service = {
	.type = IGD_WAN_IP_2,
	.control = {.server = {.family = ADDR_IPV4, .ip = {10, 0, 0, 1}, .port = 5000},
		.path = "/ctl/IPConn"},
};
static const struct igd_mapping mapping = {
	.protocol = MAPPING_TCP,
	.external_port = 2222,
	.internal = {.family = ADDR_IPV4, .ip = {10, 0, 0, 3}, .port = 22},
	.lease = 7200,
};

#define TYPE "urn:schemas-upnp-org:service:WANIPConnection:2"
#define HEAD(action, length)                                                                       \
	"POST /ctl/IPConn HTTP/1.1\r\nHost: 10.0.0.1:5000\r\n"                                     \
	"Content-Type: text/xml; charset=\"utf-8\"\r\nContent-Length: " length "\r\n"              \
	"SOAPAction: \"" TYPE "#" action "\"\r\nConnection: close\r\n\r\n"
#define ENVELOPE(action, arguments)                                                                \
	"<?xml version=\"1.0\"?>\r\n"                                                              \
	"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\""                        \
	" s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>"                  \
	"<u:" action " xmlns:u=\"" TYPE "\">" arguments "</u:" action ">"                          \
	"</s:Body></s:Envelope>\r\n"

static void test_requests(void)
{
	char request[IGD_REQUEST_SIZE];
	size_t size = igd_write_get(&service.control, request);

	is_str(request,
		"GET /ctl/IPConn HTTP/1.1\r\nHost: 10.0.0.1:5000\r\nConnection: close\r\n\r\n",
		"a request for a description");
	is_uint(size, strlen(request), "its length");
	size = igd_write_request(IGD_ADD, &service, &mapping, request);
	is_str(request,
		HEAD("AddPortMapping", "587") ENVELOPE("AddPortMapping",
			"<NewRemoteHost></NewRemoteHost><NewExternalPort>2222</NewExternalPort>"
			"<NewProtocol>TCP</NewProtocol><NewInternalPort>22</NewInternalPort>"
			"<NewInternalClient>10.0.0.3</NewInternalClient><NewEnabled>1</NewEnabled>"
			"<NewPortMappingDescription>natpunch</NewPortMappingDescription>"
			"<NewLeaseDuration>7200</NewLeaseDuration>"),
		"a request for a mapping");
	is_uint(size, strlen(request), "its length");
	is_uint(strlen(strstr(request, "\r\n\r\n") + 4), 587, "the body's");
	igd_write_request(IGD_DELETE, &service, &mapping, request);
	is_str(strstr(request, "<s:Body>"),
		"<s:Body><u:DeletePortMapping xmlns:u=\"" TYPE "\"><NewRemoteHost></NewRemoteHost>"
		"<NewExternalPort>2222</NewExternalPort><NewProtocol>TCP</NewProtocol>"
		"</u:DeletePortMapping></s:Body></s:Envelope>\r\n",
		"a request to delete it");
	igd_write_request(IGD_EXTERNAL_ADDRESS, &service, NULL, request);
	ok(strstr(request, TYPE "\"></u:GetExternalIPAddress>") != NULL, "one for the address");
	igd_write_request(IGD_ADD_ANY, &service, &mapping, request);
	ok(strstr(request, "#AddAnyPortMapping\"\r\n") != NULL, "one for any port");
}

/* The longest that there is. */
static void test_longest(void)
{
	struct igd_service far = {.type = IGD_WAN_PPP_1,
		.control = {
			.server = {
				.family = ADDR_IPV4, .ip = {255, 255, 255, 255}, .port = 65535}}};
	struct igd_mapping most = {.protocol = MAPPING_UDP,
		.external_port = 65535,
		.internal = far.control.server,
		.lease = UINT32_MAX};
	char request[IGD_REQUEST_SIZE];
	size_t size;

	memset(far.control.path, 'a', sizeof(far.control.path) - 1);
	size = igd_write_request(IGD_ADD_ANY, &far, &most, request);
	is_uint(size, strlen(request), "the longest request is whole");
	ok(strstr(request, "<NewProtocol>UDP</NewProtocol>") != NULL, "its protocol");
	ok(strstr(request, ">4294967295<") != NULL, "its lease");
}

static struct igd_answer answer;

static bool read_text(enum igd_action action, const char *text)
{
	igd_answer_start(&answer, action);
	igd_answer_take(&answer, text, strlen(text));
	return igd_answer_end(&answer);
}

#define RESPONSE(action, values)                                                                   \
	"<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"x\"><s:Body><u:" action                      \
	"Response xmlns:u=\"y\">" values "</u:" action "Response></s:Body></s:Envelope>\r\n"
#define FAULT(code)                                                                                \
	"<s:Envelope><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError"       \
	"</faultstring><detail><UPnPError xmlns=\"x\"><errorCode>" code                            \
	"</errorCode><errorDescription>no &lt;</errorDescription></UPnPError></detail></s:Fault>"  \
	"</s:Body></s:Envelope>"

static void test_responses(void)
{
	ok(read_text(IGD_ADD, RESPONSE("AddPortMapping", "")), "a mapping is made");
	is_uint(answer.error, 0, "without a fault");
	ok(read_text(IGD_ADD, "<u:AddPortMappingResponse/>"), "said shortly");
	ok(read_text(IGD_DELETE, RESPONSE("DeletePortMapping", "")), "one is deleted");
	ok(read_text(IGD_LOOK_UP, RESPONSE("GetSpecificPortMappingEntry",
					  "<NewInternalPort>22</NewInternalPort>"
					  "<NewInternalClient>10.0.0.9</NewInternalClient>")),
		"whose one is");
	is_uint(answer.internal.port, 22, "the port there");
	is_uint(answer.internal.ip[3], 9, "the machine");
	ok(!read_text(IGD_LOOK_UP, RESPONSE("GetSpecificPortMappingEntry",
					   "<NewInternalClient>10.0.0.9</NewInternalClient>")),
		"and to no port");
	ok(!read_text(IGD_LOOK_UP, RESPONSE("GetSpecificPortMappingEntry",
					   "<NewInternalPort>22</NewInternalPort>"
					   "<NewInternalClient>laptop</NewInternalClient>")),
		"or to a name");
	ok(read_text(IGD_ADD_ANY,
		   RESPONSE("AddAnyPortMapping", "<NewReservedPort>4711</NewReservedPort>")),
		"one of any port is made");
	is_uint(answer.port, 4711, "that is the port");
	ok(!read_text(IGD_ADD, ""), "nothing");
	ok(!read_text(IGD_ADD, "<html><body>login</body></html>"), "something else");
	ok(!read_text(IGD_ADD, RESPONSE("DeletePortMapping", "")), "another action's answer");
	ok(!read_text(IGD_DELETE, RESPONSE("AddAnyPortMapping", "")), "nor one of that length");
	ok(!read_text(IGD_ADD, RESPONSE("AddPortMapping", "<<")), "no XML");
	ok(!read_text(IGD_ADD, "<a><u:AddPortMappingResponse/>"), "half an answer");
	ok(!read_text(IGD_ADD_ANY, RESPONSE("AddAnyPortMapping", "")), "any port, but which?");
	ok(!read_text(IGD_ADD_ANY,
		   RESPONSE("AddAnyPortMapping", "<NewReservedPort>65536</NewReservedPort>")),
		"a port that is none");
	ok(!read_text(IGD_ADD_ANY,
		   RESPONSE("AddAnyPortMapping", "<NewReservedPort>0</NewReservedPort>")),
		"port 0");
}

static void test_faults(void)
{
	static const char *const codes[] = {"0", "-606", "1000", "606x", "", "4294967902"};

	ok(read_text(IGD_ADD, FAULT("718")), "a fault");
	is_uint(answer.error, 718, "its code");
	ok(read_text(IGD_ADD, "<UPnPError><errorCode> 725 </errorCode></UPnPError>"),
		"a short one");
	is_uint(answer.error, 725, "its code");
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		char text[100];

		snprintf(text, sizeof(text), "<a><errorCode>%s</errorCode></a>", codes[i]);
		ok(!read_text(IGD_ADD, text) && answer.error == 0, "no code: \"%s\"", codes[i]);
	}
	is_str(igd_error_name(402), "Invalid Args", "402");
	is_str(igd_error_name(501), "Action Failed", "501");
	is_str(igd_error_name(606), "Action not authorized", "606");
	is_str(igd_error_name(716), "WildCardNotPermittedInExtPort", "716");
	is_str(igd_error_name(718), "ConflictInMappingEntry", "718");
	is_str(igd_error_name(725), "OnlyPermanentLeasesSupported", "725");
	is_str(igd_error_name(728), "NoPortMapsAvailable", "728");
	is_str(igd_error_name(729), "ConflictWithOtherMechanisms", "729");
	is_str(igd_error_name(999), "", "one that has no name");
}

static void tells(const char *text, const char *want)
{
	char body[512], ip[ADDR_IP_TEXT_SIZE];

	snprintf(body, sizeof(body),
		RESPONSE("GetExternalIPAddress", "<NewExternalIPAddress>%s</NewExternalIPAddress>"),
		text);
	ok(read_text(IGD_EXTERNAL_ADDRESS, body), "an answer about \"%s\"", text);
	is_str(addr_format_ip(&answer.external, ip), want, "what it tells");
}

static void test_addresses(void)
{
	tells("88.66.88.66", "88.66.88.66");
	tells(" 100.64.0.2 ", "100.64.0.2");
	tells("192.168.1.7", "192.168.1.7");
	tells("0.0.0.0", "?");
	tells("127.0.0.1", "?");
	tells("224.0.0.1", "?");
	tells("255.255.255.255", "?");
	tells("", "?");
	tells("not an address", "?");
	tells("6.6.6.6.6", "?");
	tells("6.6.6.6&lt;", "?");
	tells("2001:db8::1", "?");
	tells("::ffff:6.6.6.6", "?");
	ok(read_text(IGD_EXTERNAL_ADDRESS, RESPONSE("GetExternalIPAddress", "")), "no address");
}

int main(void)
{
	test_requests();
	test_longest();
	test_responses();
	test_faults();
	test_addresses();
	return done_testing();
}
