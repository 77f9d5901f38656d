/*
 * Fact: Linux silently drops a segment with a TCP MD5 option (kind 19, RFC 2385) for which the
 * socket has no key, and raw sockets get a copy of it all the same.
 *
 * No SYN-ACK, no RST, at a port with a listener and at one without, whether SYN, SYN-ACK or ACK:
 * only the counter TCPMD5Unexpected rises. So two raw sockets can shake hands from ports that other
 * programs listen on, and neither kernel interferes.
 *
 * It takes a kernel with CONFIG_TCP_MD5SIG. One without takes the option for unknown and answers as
 * it would to any segment. How that looks is checked here as well, with the option of an experiment
 * (kind 253), which every kernel passes over.
 */
#include "segment.h"

#define MARK_PORT   7
#define CLOSED_PORT 9

static const uint8_t content[OPTION_CONTENT] = "sixteen bytes..";

/* What a kernel did with a segment. */
struct outcome {
	uint8_t answer;    /* flags of what came back, 0 for nothing */
	bool copied;       /* the raw socket there got it, with its option as it was sent */
	long long counted; /* how much TCPMD5Unexpected rose */
};

/*
 * Sends a segment and, behind it, a plain SYN to a closed port. The RST for that one is the mark:
 * what has not been answered before it never will be. raw[] holds a raw socket of each place.
 */
static struct outcome draw(const int places[PLACES], const int raw[PLACES],
	const struct segment *sent, enum place from, enum place to)
{
	struct segment mark = *sent;
	struct segment seen;
	struct outcome outcome = {0};

	mark.from.v4.sin_port = htons(MARK_PORT);
	mark.to.v4.sin_port = htons(MARK_PORT);
	mark.flags = FLAG_SYN;
	mark.option = OPTION_NONE;

	place_enter(places, to);
	outcome.counted = -counter("TcpExt", "TCPMD5Unexpected");
	segment_send(raw[from], sent);
	segment_send(raw[from], &mark);
	if (segment_find(raw[from], &sent->from, address_port(&sent->to), address_port(&sent->from),
		    MARK_PORT, &seen))
		outcome.answer = seen.flags;
	if (segment_find(raw[to], &sent->to, address_port(&sent->from), address_port(&sent->to),
		    MARK_PORT, &seen))
		outcome.copied = seen.option == sent->option &&
				 memcmp(seen.content, sent->content, OPTION_CONTENT) == 0;
	outcome.counted += counter("TcpExt", "TCPMD5Unexpected");
	place_enter(places, HOME);
	return outcome;
}

/* A kind of segment, and how a kernel answers it that sees nothing special in it. */
struct kind {
	const char *name;
	uint8_t flags;
	uint8_t from_open;
	uint8_t from_closed;
};

static const struct kind kinds[] = {
	{"SYN", FLAG_SYN, FLAG_SYN | FLAG_ACK, FLAG_RST | FLAG_ACK},
	{"SYN-ACK", FLAG_SYN | FLAG_ACK, FLAG_RST, FLAG_RST},
	{"ACK", FLAG_ACK, FLAG_RST, FLAG_RST},
};

static void check_md5(const struct outcome *outcome, const char *what, bool open)
{
	if (!is_uint(outcome->answer, 0, "%s with an MD5 option is not answered", what))
		diag("a kernel that answers it was built without CONFIG_TCP_MD5SIG: method raw "
		     "cannot work there");
	ok(outcome->copied, "%s: the raw socket got it", what);
	if (open)
		is_int(outcome->counted, 1, "%s: TCPMD5Unexpected counts it", what);
}

/* Sends a kind of segment to a port, plain and with either option. */
static void check_kind(const int places[PLACES], const int raw[PLACES], int family, enum place from,
	const struct kind *kind, bool open)
{
	static uint16_t source = 40000;
	enum place to = from == HOME ? OUTSIDE : HOME;
	uint16_t port = open ? HOME_PORT : CLOSED_PORT;
	const uint8_t options[] = {OPTION_NONE, OPTION_EXPERIMENTAL, OPTION_MD5};
	char what[64];

	snprintf(what, sizeof(what), "%s, from %s to %s port, %s", family_name(family),
		from == HOME ? "home" : "outside", open ? "an open" : "a closed", kind->name);
	for (size_t i = 0; i < sizeof(options); i++) {
		struct segment segment = {
			.from = address_of_place(family, from, ++source),
			.to = address_of_place(family, to, port),
			.seq = 1000,
			.ack = kind->flags & FLAG_ACK ? 2000 : 0,
			.window = 8192,
			.flags = kind->flags,
			.option = options[i],
		};
		struct outcome outcome;

		if (segment.option != OPTION_NONE)
			memcpy(segment.content, content, OPTION_CONTENT);
		outcome = draw(places, raw, &segment, from, to);
		if (segment.option == OPTION_MD5)
			check_md5(&outcome, what, open);
		else
			is_uint(outcome.answer, open ? kind->from_open : kind->from_closed,
				"%s %s is answered", what,
				segment.option == OPTION_NONE ? "without an option"
							      : "with an unknown option");
	}
}

static void check_family(const int places[PLACES], int family)
{
	int raw[PLACES];
	int listeners[PLACES];

	for (enum place place = HOME; place <= OUTSIDE; place++) {
		place_enter(places, place);
		raw[place] = raw_socket(family);
		listeners[place] = must_listen(family, HOME_PORT);
	}
	place_enter(places, HOME);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (int open = 0; open <= 1; open++) {
			check_kind(places, raw, family, HOME, &kinds[i], open);
			check_kind(places, raw, family, OUTSIDE, &kinds[i], open);
		}
	}
	for (enum place place = HOME; place <= OUTSIDE; place++) {
		close(raw[place]);
		close(listeners[place]);
	}
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	check_family(places, AF_INET);
	check_family(places, AF_INET6);
	return done_testing();
}
