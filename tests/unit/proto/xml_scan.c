/* The elements of documents, well made and ill made. */
#include "natpunch/proto/xml_scan.h"

#include "tap.h"

static struct xml_scan scan;

/* What is found, as "name(" for a start, "name/ " for an empty one, "text)" or "?)" for an end. */
static const char *read_bytes(const char *text, size_t size)
{
	static char found[4096];
	size_t at = 0;

	memset(&scan, 0, sizeof(scan));
	found[0] = '\0';
	for (size_t i = 0; i < size; i++) {
		enum xml_scan_event event = xml_scan_take(&scan, text[i]);
		const char *value;

		if (event == XML_SCAN_BAD)
			return "bad";
		if (event == XML_SCAN_NOTHING)
			continue;
		value = event == XML_SCAN_END ? xml_scan_text(&scan) : xml_scan_name(&scan);
		at += (size_t)snprintf(found + at, sizeof(found) - at, "%s%s",
			value != NULL ? value : "?",
			event == XML_SCAN_START   ? "("
			: event == XML_SCAN_EMPTY ? "/ "
						  : ")");
	}
	return xml_scan_is_whole(&scan) ? found : "more";
}

static const char *read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

static void test_elements(void)
{
	is_str(read_text("<a>b</a>"), "a(b)", "an element");
	is_str(read_text("<a><b>1</b><c> 2 \r\n\t</c>\n</a>"), "a(b(1)c(2)?)", "two in another");
	is_str(read_text("<x:a y:b='c'>1</x:a >"), "a(1)", "a prefix");
	is_str(read_text("<a><b/><c /><d e=\"f\"/></a>"), "a(b/ c/ d/ ?)", "empty ones");
	is_str(read_text("<a b='>' c=\"'/>\" d='\"'>1</a>"), "a(1)", "quoted marks");
	is_str(read_text("<a></a>"), "a()", "no text");
	is_str(read_text("<a> \n </a>"), "a()", "blanks alone");
	is_str(read_text("<a>1 2</a>"), "a(1 2)", "a blank inside");
	is_str(read_text("<a>1<b>2</b>3</a>"), "a(b(2)?)", "text beside an element is none");
	is_str(read_text("<a><b>2</b></a>"), "a(b(2)?)", "nor is an element's");
	is_str(read_text("<a>1<b/></a>"), "a(b/ ?)", "nor beside an empty one");
	is_str(read_text("<a/>"), "a/ ", "nothing but an empty one");
	is_str(read_text("\xef\xbb\xbf<a>\xc3\xa9</a>"), "a(\xc3\xa9)", "bytes of UTF-8");
}

static void test_skipped(void)
{
	is_str(read_text("<?xml version=\"1.0\"?>\r\n<a>1</a>"), "a(1)", "a declaration");
	is_str(read_text("<? <b> ?"
			 "?><a>1</a>"),
		"a(1)", "a tag in an instruction");
	is_str(read_text("<!-- <b>2</b> - -> --><a>1</a>"), "a(1)", "a comment");
	is_str(read_text("<!-- ---><a>1</a>"), "a(1)", "one that ends with another dash");
	is_str(read_text("<!--><b>--><a>1</a>"), "a(1)", "one that does not end at once");
	is_str(read_text("<a><!-- x --><b>1</b></a>"), "a(b(1)?)", "one between elements");
	is_str(read_text("<a>1<!-- x -->2</a>"), "a(?)", "a comment in a text");
	is_str(read_text("<a><![CDATA[<b>]]]></a>"), "a(?)", "a part that is no text");
	is_str(read_text("<a>1<?x?></a>"), "a(?)", "an instruction in a text");
	is_str(read_text("<!-- <a>1</a>"), "more", "a comment without an end");
}

static void test_references(void)
{
	is_str(read_text("<a>1&amp;2</a>"), "a(?)", "a reference");
	is_str(read_text("<a>&</a><b>1</b>"), "a(?)b(1)", "spoils no other text");
	is_str(read_text("<!DOCTYPE a [<!ENTITY a \"ha\">]><a>&a;</a>"), "bad", "a DTD");
	is_str(read_text("<a><!ENTITY b \"c\"></a>"), "bad", "a declaration inside");
}

static void test_bad(void)
{
	static const char *const bad[] = {"<>", "<1>", "< a>", "</>", "<//a>", "<a<b>", "<a <b>",
		"</a>", "<a></a></a>", "<a></ a>", "<!>", "<!a>", "</!-- -->", "<<a>", "<\xc3\xa9>",
		"<-a>"};
	static const char *const more[] = {"<a>", "<a", "<", "<a>1</a", "<a b='>", "<a></a><b>"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_str(read_text(bad[i]), "bad", "none: %s", bad[i]);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		is_str(read_text(more[i]), "more", "not whole: %s", more[i]);
	is_str(read_bytes("<a>\0</a>", 8), "bad", "a NUL");
	is_str(read_text("<>"), "bad", "nothing");
	is_int(xml_scan_take(&scan, 'a'), XML_SCAN_BAD, "makes it good again");
}

static void test_bounds(void)
{
	char text[3000];
	size_t size = 0;

	for (size_t i = 0; i < XML_SCAN_DEPTH_MAX; i++)
		size += (size_t)snprintf(text + size, sizeof(text) - size, "<a>");
	is_str(read_text(text), "more", "as deep as may be");
	snprintf(text + size, sizeof(text) - size, "<b/>");
	is_str(read_text(text), "more", "an empty one there");
	snprintf(text + size, sizeof(text) - size, "<b>");
	is_str(read_text(text), "bad", "one deeper");
	snprintf(text, sizeof(text), "<%0*d>1</a><b>2</b>", XML_SCAN_NAME_SIZE - 1, 0);
	text[1] = 'a';
	is_uint(strlen(read_text(text)), XML_SCAN_NAME_SIZE - 1 + 3 + 4, "the longest name");
	snprintf(text, sizeof(text), "<%0500d>1</a><b>2</b>", 0);
	text[1] = 'a';
	is_str(read_text(text), "(1)b(2)", "a longer one is no name");
	snprintf(text, sizeof(text), "<%0500d:c>1</a>", 0);
	text[1] = 'a';
	is_str(read_text(text), "c(1)", "a long prefix");
	snprintf(text, sizeof(text), "<a>%0*d</a>", XML_SCAN_TEXT_SIZE - 1, 0);
	is_uint(strlen(read_text(text)), 2 + XML_SCAN_TEXT_SIZE - 1 + 1, "the longest text");
	snprintf(text, sizeof(text), "<a>%0*d</a><b>2</b>", XML_SCAN_TEXT_SIZE, 0);
	is_str(read_text(text), "a(?)b(2)", "a longer one is none");
}

int main(void)
{
	test_elements();
	test_skipped();
	test_references();
	test_bad();
	test_bounds();
	return done_testing();
}
