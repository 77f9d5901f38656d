/*
 * XML (https://www.w3.org/TR/xml/), a byte at a time:
 *
 *     TEXT --'<'--> TAG --letter, or '/' and a letter--> NAME --blank, '/'--> ATTRIBUTES
 *                    |                                    +------'>'-----------+--> TEXT
 *                    +--'?'---------------> SKIPPED --"?>"--> TEXT
 *                    +--'!'--> MARK --'-'-> SKIPPED --"-->"-> TEXT
 *                                   --'['-> SKIPPED --"]]>"-> TEXT
 *
 * Each of them may become BAD, which nothing leaves. What is skipped ends with the same character
 * so many times and '>'.
 * Invariants: name_size and text_size are below the sizes of their arrays; depth is at most
 * XML_SCAN_DEPTH_MAX.
 */
#include "natpunch/proto/xml_scan.h"

#include <string.h>

/* The value 0 is where a document begins. */
enum {
	TEXT,
	TAG,
	NAME,
	ATTRIBUTES,
	MARK,
	SKIPPED,
	BAD
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static enum xml_scan_event refuse(struct xml_scan *scan)
{
	scan->state = BAD;
	return XML_SCAN_BAD;
}

static void take_text(struct xml_scan *scan, char byte)
{
	if (scan->text_size == 0 && is_blank(byte))
		return;
	if (byte == '&' || scan->text_size == sizeof(scan->text) - 1)
		scan->is_useless = true;
	else
		scan->text[scan->text_size++] = byte;
}

static void add_to_name(struct xml_scan *scan, char byte)
{
	if (byte == ':')
		scan->name_size = 0;
	else if (scan->name_size < sizeof(scan->name) - 1)
		scan->name[scan->name_size++] = byte;
	else
		scan->name[0] = '\0'; /* it is none that anybody knows */
	scan->name[scan->name_size] = '\0';
}

static void begin_skipping(struct xml_scan *scan, char skip_to, size_t times)
{
	scan->state = SKIPPED;
	scan->is_useless = true;
	scan->skip = skip_to;
	scan->wanted = times;
	scan->repeated = 0;
}

static void skip(struct xml_scan *scan, char byte)
{
	if (byte == '>' && scan->repeated >= scan->wanted)
		scan->state = TEXT;
	scan->repeated = byte == scan->skip ? scan->repeated + 1 : 0;
}

/* What stands behind '<', or behind "</". */
static enum xml_scan_event begin_tag(struct xml_scan *scan, char byte)
{
	scan->name_size = 0;
	scan->name[0] = '\0';
	scan->quote = '\0';
	scan->last = byte;
	if (byte == '/' && !scan->is_end) {
		scan->is_end = true; /* the name follows */
	} else if (is_letter(byte)) {
		scan->state = NAME;
		add_to_name(scan, byte);
	} else if (byte == '!' && !scan->is_end) {
		scan->state = MARK;
	} else if (byte == '?' && !scan->is_end) {
		begin_skipping(scan, '?', 1);
	} else {
		return refuse(scan);
	}
	return XML_SCAN_NOTHING;
}

/* What stands behind "<!". A document type declaration begins with a letter. */
static enum xml_scan_event take_mark(struct xml_scan *scan, char byte)
{
	if (byte != '-' && byte != '[')
		return refuse(scan);
	begin_skipping(scan, byte == '-' ? '-' : ']', 2);
	return XML_SCAN_NOTHING;
}

static enum xml_scan_event start_element(struct xml_scan *scan)
{
	if (scan->depth == XML_SCAN_DEPTH_MAX)
		return refuse(scan);
	scan->depth++;
	scan->is_leaf = true;
	scan->is_useless = false;
	scan->text_size = 0;
	return XML_SCAN_START;
}

static enum xml_scan_event end_element(struct xml_scan *scan)
{
	if (scan->depth == 0)
		return refuse(scan);
	scan->depth--;
	if (!scan->is_leaf)
		scan->is_useless = true;
	scan->is_leaf = false;
	return XML_SCAN_END;
}

/* The '>' of a tag. */
static enum xml_scan_event end_tag(struct xml_scan *scan)
{
	scan->state = TEXT;
	if (scan->is_end)
		return end_element(scan);
	if (scan->last != '/')
		return start_element(scan);
	scan->is_leaf = false;
	return XML_SCAN_EMPTY;
}

static enum xml_scan_event take_tag(struct xml_scan *scan, char byte)
{
	if (scan->quote != '\0') {
		if (byte == scan->quote)
			scan->quote = '\0';
		return XML_SCAN_NOTHING;
	}
	if (byte == '>')
		return end_tag(scan);
	if (byte == '<')
		return refuse(scan);
	scan->last = byte;
	if (is_blank(byte) || byte == '/')
		scan->state = ATTRIBUTES;
	else if (scan->state == NAME)
		add_to_name(scan, byte);
	else if (byte == '"' || byte == '\'')
		scan->quote = byte;
	return XML_SCAN_NOTHING;
}

enum xml_scan_event xml_scan_take(struct xml_scan *scan, char byte)
{
	if (byte == '\0' || scan->state == BAD)
		return refuse(scan);
	switch (scan->state) {
	case TEXT:
		if (byte == '<') {
			scan->state = TAG;
			scan->is_end = false;
		} else {
			take_text(scan, byte);
		}
		return XML_SCAN_NOTHING;
	case TAG:
		return begin_tag(scan, byte);
	case MARK:
		return take_mark(scan, byte);
	case SKIPPED:
		skip(scan, byte);
		return XML_SCAN_NOTHING;
	default:
		return take_tag(scan, byte);
	}
}

const char *xml_scan_name(const struct xml_scan *scan)
{
	return scan->name;
}

const char *xml_scan_text(struct xml_scan *scan)
{
	if (scan->is_useless)
		return NULL;
	while (scan->text_size > 0 && is_blank(scan->text[scan->text_size - 1]))
		scan->text_size--;
	scan->text[scan->text_size] = '\0';
	return scan->text;
}

bool xml_scan_is_whole(const struct xml_scan *scan)
{
	return scan->state == TEXT && scan->depth == 0;
}
