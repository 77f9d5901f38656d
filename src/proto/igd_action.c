#include "natpunch/proto/igd_action.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "natpunch/base/parse.h"

#define BODY_SIZE      1280
#define ARGUMENTS_SIZE 640

static const char *const names[IGD_ACTIONS] = {
	[IGD_ADD] = "AddPortMapping",
	[IGD_ADD_ANY] = "AddAnyPortMapping",
	[IGD_DELETE] = "DeletePortMapping",
	[IGD_LOOK_UP] = "GetSpecificPortMappingEntry",
	[IGD_EXTERNAL_ADDRESS] = "GetExternalIPAddress",
};

size_t igd_write_get(const struct http_url *url, char out[IGD_REQUEST_SIZE])
{
	char host[ADDR_TEXT_SIZE];

	return (size_t)snprintf(out, IGD_REQUEST_SIZE,
		"GET %s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"Connection: close\r\n"
		"\r\n",
		url->path, addr_format(&url->server, host));
}

/* The arguments stand in the order of the specification: some routers insist (UDA 3.1.1). */
static void write_arguments(
	enum igd_action action, const struct igd_mapping *mapping, char out[ARGUMENTS_SIZE])
{
	char client[ADDR_IP_TEXT_SIZE];
	size_t size;

	out[0] = '\0';
	if (action == IGD_EXTERNAL_ADDRESS)
		return;
	size = (size_t)snprintf(out, ARGUMENTS_SIZE,
		"<NewRemoteHost></NewRemoteHost>"
		"<NewExternalPort>%u</NewExternalPort>"
		"<NewProtocol>%s</NewProtocol>",
		mapping->external_port, mapping->protocol == MAPPING_TCP ? "TCP" : "UDP");
	if (action == IGD_DELETE || action == IGD_LOOK_UP)
		return;
	snprintf(out + size, ARGUMENTS_SIZE - size,
		"<NewInternalPort>%u</NewInternalPort>"
		"<NewInternalClient>%s</NewInternalClient>"
		"<NewEnabled>1</NewEnabled>"
		"<NewPortMappingDescription>natpunch</NewPortMappingDescription>"
		"<NewLeaseDuration>%lu</NewLeaseDuration>",
		mapping->internal.port, addr_format_ip(&mapping->internal, client),
		(unsigned long)mapping->lease);
}

size_t igd_write_request(enum igd_action action, const struct igd_service *service,
	const struct igd_mapping *mapping, char out[IGD_REQUEST_SIZE])
{
	const char *type = igd_service_name(service->type);
	char host[ADDR_TEXT_SIZE], arguments[ARGUMENTS_SIZE], body[BODY_SIZE];
	int body_size, size;

	write_arguments(action, mapping, arguments);
	body_size = snprintf(body, sizeof(body),
		"<?xml version=\"1.0\"?>\r\n"
		"<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\""
		" s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\">"
		"<s:Body><u:%s xmlns:u=\"%s\">%s</u:%s></s:Body></s:Envelope>\r\n",
		names[action], type, arguments, names[action]);
	size = snprintf(out, IGD_REQUEST_SIZE,
		"POST %s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"Content-Type: text/xml; charset=\"utf-8\"\r\n"
		"Content-Length: %d\r\n"
		"SOAPAction: \"%s#%s\"\r\n"
		"Connection: close\r\n"
		"\r\n"
		"%s",
		service->control.path, addr_format(&service->control.server, host), body_size, type,
		names[action], body);
	assert(body_size < BODY_SIZE && size < IGD_REQUEST_SIZE);
	return (size_t)size;
}

void igd_answer_start(struct igd_answer *answer, enum igd_action action)
{
	memset(answer, 0, sizeof(*answer));
	answer->action = action;
}

static bool is_response(const struct igd_answer *answer, const char *name)
{
	const char *action = names[answer->action];

	return strncmp(name, action, strlen(action)) == 0 &&
	       strcmp(name + strlen(action), "Response") == 0;
}

/* Routers that are not connected say 0.0.0.0, or nothing. */
static void take_address(struct igd_answer *answer, const char *text)
{
	struct addr addr;

	if (addr_parse_ip(&addr, text) != 0 || addr.family != ADDR_IPV4)
		return;
	switch (addr_classify(&addr)) {
	case ADDR_CLASS_UNSPECIFIED:
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_MULTICAST:
		return;
	case ADDR_CLASS_PUBLIC:
	case ADDR_CLASS_PRIVATE:
	case ADDR_CLASS_SHARED:
	case ADDR_CLASS_LINK_LOCAL:
		answer->external = addr;
	}
}

/* Of another machine in the home network, or of this one. */
static void take_client(struct igd_answer *answer, const char *text)
{
	uint16_t port = answer->internal.port;

	if (addr_parse_ip(&answer->internal, text) != 0)
		answer->internal.family = ADDR_NONE;
	answer->internal.port = port;
}

static void take_value(struct igd_answer *answer, const char *name, const char *text)
{
	uint64_t error;
	uint16_t port;

	if (strcmp(name, "errorCode") == 0) {
		if (parse_number(text, 1, 999, &error) == 0)
			answer->error = (unsigned)error;
	} else if (strcmp(name, "NewReservedPort") == 0) {
		if (parse_port(text, &port) == 0)
			answer->port = port;
	} else if (strcmp(name, "NewExternalIPAddress") == 0) {
		take_address(answer, text);
	} else if (strcmp(name, "NewInternalClient") == 0) {
		take_client(answer, text);
	} else if (strcmp(name, "NewInternalPort") == 0) {
		if (parse_port(text, &port) == 0)
			answer->internal.port = port;
	}
}

void igd_answer_take(struct igd_answer *answer, const char *data, size_t size)
{
	for (size_t i = 0; i < size && !answer->is_bad; i++) {
		const char *name = xml_scan_name(&answer->xml);
		const char *text;

		switch (xml_scan_take(&answer->xml, data[i])) {
		case XML_SCAN_START:
		case XML_SCAN_EMPTY:
			answer->is_response = answer->is_response || is_response(answer, name);
			break;
		case XML_SCAN_END:
			text = xml_scan_text(&answer->xml);
			if (text != NULL)
				take_value(answer, name, text);
			break;
		case XML_SCAN_BAD:
			answer->is_bad = true;
			break;
		case XML_SCAN_NOTHING:
			break;
		}
	}
}

bool igd_answer_end(const struct igd_answer *answer)
{
	if (answer->is_bad || !xml_scan_is_whole(&answer->xml))
		return false;
	if (answer->action == IGD_ADD_ANY && answer->error == 0 && answer->port == 0)
		return false;
	if (answer->action == IGD_LOOK_UP && answer->error == 0 &&
		(answer->internal.family == ADDR_NONE || answer->internal.port == 0))
		return false;
	return answer->is_response || answer->error != 0;
}

const char *igd_error_name(unsigned error)
{
	static const struct {
		unsigned error;
		const char *name;
	} rows[] = {
		{401, "Invalid Action"},
		{IGD_ERROR_INVALID_ARGS, "Invalid Args"},
		{501, "Action Failed"},
		{600, "Argument Value Invalid"},
		{601, "Argument Value Out of Range"},
		{602, "Optional Action Not Implemented"},
		{603, "Out of Memory"},
		{604, "Human Intervention Required"},
		{605, "String Argument Too Long"},
		{IGD_ERROR_NOT_AUTHORIZED, "Action not authorized"},
		{IGD_ERROR_NO_SUCH_ENTRY, "NoSuchEntryInArray"},
		{715, "WildCardNotPermittedInSrcIP"},
		{716, "WildCardNotPermittedInExtPort"},
		{IGD_ERROR_CONFLICT, "ConflictInMappingEntry"},
		{724, "SamePortValuesRequired"},
		{IGD_ERROR_PERMANENT_ONLY, "OnlyPermanentLeasesSupported"},
		{726, "RemoteHostOnlySupportsWildcard"},
		{727, "ExternalPortOnlySupportsWildcard"},
		{728, "NoPortMapsAvailable"},
		{IGD_ERROR_CONFLICT_MECHANISM, "ConflictWithOtherMechanisms"},
		{732, "WildCardNotPermittedInIntPort"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].error == error)
			return rows[i].name;
	return "";
}
