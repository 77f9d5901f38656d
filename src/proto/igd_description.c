#include "natpunch/proto/igd_description.h"

#include <string.h>

static const char *const names[IGD_SERVICE_TYPES] = {
	[IGD_WAN_IP_2] = "urn:schemas-upnp-org:service:WANIPConnection:2",
	[IGD_WAN_IP_1] = "urn:schemas-upnp-org:service:WANIPConnection:1",
	[IGD_WAN_PPP_1] = "urn:schemas-upnp-org:service:WANPPPConnection:1",
};

const char *igd_service_name(enum igd_service_type type)
{
	return names[type];
}

static enum igd_service_type find_type(const char *name)
{
	size_t type = 0;

	while (type < IGD_SERVICE_TYPES && strcmp(names[type], name) != 0)
		type++;
	return (enum igd_service_type)type;
}

void igd_description_start(struct igd_description *description, const struct http_url *url)
{
	memset(description, 0, sizeof(*description));
	description->base = *url;
}

/* Puts a service behind those of its type; the last one goes where there is no room. */
static void keep_service(struct igd_description *description)
{
	struct igd_service *services = description->services;
	size_t at = description->count;

	while (at > 0 && services[at - 1].type > description->service.type)
		at--;
	if (at == IGD_SERVICES_MAX)
		return;
	if (description->count < IGD_SERVICES_MAX)
		description->count++;
	memmove(services + at + 1, services + at,
		(description->count - at - 1) * sizeof(services[0]));
	services[at] = description->service;
}

static void start_element(struct igd_description *description, const char *name)
{
	if (strcmp(name, "service") != 0)
		return;
	description->in_service = true;
	description->has_control = false;
	description->service.type = IGD_SERVICE_TYPES;
}

/* URLBase is of version 1.0 of the architecture, and stands in front of the services. */
static void end_element(struct igd_description *description, const char *name)
{
	const char *text = xml_scan_text(&description->xml);

	if (description->in_service && strcmp(name, "service") == 0) {
		description->in_service = false;
		if (description->has_control && description->service.type != IGD_SERVICE_TYPES)
			keep_service(description);
	} else if (text == NULL) {
		return;
	} else if (strcmp(name, "URLBase") == 0) {
		if (http_url_read(text, &description->base.server, &description->base) != 0)
			return;
	} else if (description->in_service && strcmp(name, "serviceType") == 0) {
		description->service.type = find_type(text);
	} else if (description->in_service && strcmp(name, "controlURL") == 0) {
		description->has_control = http_url_resolve(text, &description->base,
						   &description->service.control) == 0;
	}
}

void igd_description_take(struct igd_description *description, const char *data, size_t size)
{
	for (size_t i = 0; i < size && !description->is_bad; i++) {
		switch (xml_scan_take(&description->xml, data[i])) {
		case XML_SCAN_START:
			start_element(description, xml_scan_name(&description->xml));
			break;
		case XML_SCAN_END:
			end_element(description, xml_scan_name(&description->xml));
			break;
		case XML_SCAN_BAD:
			description->is_bad = true;
			break;
		case XML_SCAN_EMPTY:
		case XML_SCAN_NOTHING:
			break;
		}
	}
}

bool igd_description_end(struct igd_description *description)
{
	if (!description->is_bad && xml_scan_is_whole(&description->xml))
		return true;
	description->count = 0;
	return false;
}
