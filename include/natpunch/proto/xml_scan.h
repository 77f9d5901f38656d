/*
 * xml_scan.h - finds the elements of an XML document that contain only a short text, reading a byte
 * at a time. UPnP's documents need no more.
 *
 * This is no XML parser: it does not compare the names of start and end tags, passes over
 * attributes, comments and processing instructions, and takes the part behind the colon for the
 * name (no namespaces).
 *
 * Threat: a document made to exhaust or confuse its reader. Nothing is ever expanded: a document
 * type declaration is refused, and so is a text with a reference ('&') in it. The depth, the names
 * and the texts are bounded.
 */
#ifndef NATPUNCH_PROTO_XML_SCAN_H
#define NATPUNCH_PROTO_XML_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define XML_SCAN_DEPTH_MAX 32
#define XML_SCAN_NAME_SIZE 48
#define XML_SCAN_TEXT_SIZE 288 /* an HTTP_URL_SIZE */

enum xml_scan_event {
	XML_SCAN_NOTHING,
	XML_SCAN_START, /* <name ...> */
	XML_SCAN_EMPTY, /* <name ... /> */
	XML_SCAN_END,   /* </name> */
	XML_SCAN_BAD,   /* and from then on for each byte */
};

/* All zero is a document of which nothing was read. */
struct xml_scan {
	unsigned state; /* enum of xml_scan.c */
	size_t depth;   /* elements that are open */
	size_t name_size;
	char name[XML_SCAN_NAME_SIZE];
	size_t text_size;
	char text[XML_SCAN_TEXT_SIZE];
	bool is_leaf;    /* the last tag was a start tag */
	bool is_useless; /* the text is not that of a leaf, not plain, or too long */
	bool is_end;     /* the tag is an end tag */
	char last;       /* the last byte of the tag outside quotes */
	char quote;      /* of an attribute's value, or 0 */
	char skip;       /* what is skipped ends with this character, */
	size_t wanted;   /* so many times or more, */
	size_t repeated; /* (it was seen so often) and '>' */
};

/* Takes a byte. After START, EMPTY and END see xml_scan_name(). */
enum xml_scan_event xml_scan_take(struct xml_scan *scan, char byte);

/* The name of the tag that has just been read, without a prefix; "" when it is too long. */
const char *xml_scan_name(const struct xml_scan *scan);

/*
 * After END: the element's text without the blanks around it. NULL when there is more in it than
 * plain characters, or too much.
 */
const char *xml_scan_text(struct xml_scan *scan);

/* Does the document end here: not within a tag, and with every element closed? */
bool xml_scan_is_whole(const struct xml_scan *scan);

#endif
