/*
 * Fact: three segments from raw sockets, each with an MD5 option, make the NAT hold an established
 * connection, though neither kernel at the ends knows of any.
 *
 *	home :22                       NAT                     reflector :3478
 *	SYN      option: nonce     ->  SYN_SENT      ->
 *	                           <-  SYN_RECV      <-  SYN-ACK  option: answer
 *	ACK      option: any       ->  ESTABLISHED   ->
 *
 * Linux tracks sequence numbers and windows strictly here (nf_conntrack_tcp_be_liberal is 0), and
 * accepts the answer in the option's 16 bytes, in data on the SYN-ACK, and with any window in the
 * SYN-ACK. An option is the better carrier: without it there is no handshake in any case, so
 *nothing is added that can be lost. A second handshake on the same four-tuple, with other numbers,
 *while the entry of the first one lives, is accepted as well.
 *
 * Where a router takes the option away, both kernels answer: a SYN-ACK without the option comes
 *back, and home resets it.
 */
#include "segment.h"

/* What the SYN-ACK and the ACK that follows it look like. */
struct variant {
	const char *name;
	uint16_t window;
	size_t data_size;
	uint32_t acknowledged; /* bytes after the SYN that the ACK acknowledges */
	bool refused;          /* the NAT does not take the ACK */
};

static const struct variant variants[] = {
	{"answer in the option", 65535, 0, 0, false},
	{"window of 0", 0, 0, 0, false},
	{"window of 1", 1, 0, 0, false},
	{"data, acknowledged", 65535, 24, 24, false},
	{"data, not acknowledged", 65535, 24, 0, false},
	{"ACK of what was never sent", 65535, 0, 100000, true},
};

struct lab {
	int places[PLACES];
	int family;
	int raw[PLACES];
	union address home;
	union address far;
	char name[64]; /* of the case under test */
};

/* Sends the SYN and has the reflector read it. Returns what the reflector saw. */
static struct segment send_syn(const struct lab *lab, uint32_t isn)
{
	struct segment syn = {
		.from = lab->home,
		.to = lab->far,
		.seq = isn,
		.window = 65535,
		.flags = FLAG_SYN,
		.option = OPTION_MD5,
		.content = "a nonce of bytes",
	};
	struct segment seen;

	segment_send(lab->raw[HOME], &syn);
	if (!segment_receive(lab->raw[OUTSIDE], &lab->far, &seen))
		bail_out("the SYN did not come");
	return seen;
}

/*
 * Has the reflector answer and home read it. Stores what home got in *got. Returns whether all of
 * it arrived as it should.
 */
static bool send_syn_ack(const struct lab *lab, const struct variant *variant,
	const struct segment *syn, struct segment *got)
{
	struct segment answer = {
		.from = lab->far,
		.to = syn->from,
		.seq = ~syn->seq,
		.ack = syn->seq + 1,
		.window = variant->window,
		.flags = FLAG_SYN | FLAG_ACK,
		.option = OPTION_MD5,
		.content = "198.51.100.1:22",
		.data_size = variant->data_size,
	};

	segment_send(lab->raw[OUTSIDE], &answer);
	if (!ok(segment_receive(lab->raw[HOME], &lab->home, got), "%s: the SYN-ACK gets back",
		    lab->name))
		return false;
	is_mem(got->content, answer.content, OPTION_CONTENT, "%s: with its option", lab->name);
	is_uint(got->data_size, variant->data_size, "%s: and its data", lab->name);
	is_uint(got->window, variant->window, "%s: and its window", lab->name);
	is_uint(got->seq, answer.seq, "%s: and its number", lab->name);
	is_uint(got->ack, answer.ack, "%s: it acknowledges the SYN", lab->name);
	return ok(got->checksum_holds, "%s: its checksum holds after the NAT", lab->name);
}

/* Goes through a handshake. Returns the public port that the reflector saw. */
static uint16_t shake_hands(const struct lab *lab, const struct variant *variant, uint32_t isn)
{
	struct segment syn = send_syn(lab, isn);
	uint16_t port = address_port(&syn.from);
	struct segment got;
	struct segment ack;

	is_uint(syn.option, OPTION_MD5, "%s: the SYN's option gets through", lab->name);
	if (!send_syn_ack(lab, variant, &syn, &got))
		return port;
	ack = (struct segment){
		.from = lab->home,
		.to = lab->far,
		.seq = isn + 1,
		.ack = got.seq + 1 + variant->acknowledged,
		.window = 65535,
		.flags = FLAG_ACK,
		.option = OPTION_MD5,
	};
	segment_send(lab->raw[HOME], &ack);
	if (variant->refused)
		return port;
	ok(segment_receive(lab->raw[OUTSIDE], &lab->far, &got) && got.flags == FLAG_ACK &&
			address_port(&got.from) == port,
		"%s: the ACK gets through", lab->name);
	return port;
}

static void check_variant(struct lab *lab, const struct variant *variant, uint16_t port)
{
	long long resets = counter("Tcp", "OutRsts");

	lab->home.v4.sin_port = htons(port);
	for (uint32_t round = 1; round <= 2; round++) {
		struct entry entry;
		uint16_t seen;

		snprintf(lab->name, sizeof(lab->name), "%s, %s, round %u", family_name(lab->family),
			variant->name, round);
		seen = shake_hands(lab, variant, round * 0x70000000U);
		entry = entry_find(lab->places, lab->family, port);
		is_str(entry.state, variant->refused ? "SYN_RECV" : "ESTABLISHED",
			"%s: what the NAT makes of it", lab->name);
		is_uint(entry.port, seen, "%s: for the port that was seen", lab->name);
		ok((entry.seconds > 2 * 3600 + 4 * 60) == !variant->refused, "%s: for %u s",
			lab->name, entry.seconds);
	}
	is_int(counter("Tcp", "OutRsts") - resets, 0, "%s: home reset nothing", lab->name);
	place_enter(lab->places, OUTSIDE);
	is_int(counter("Tcp", "OutRsts"), 0, "%s: nor did the reflector", lab->name);
	place_enter(lab->places, HOME);
}

/* The last: the router takes the option out of what passes. */
static void check_stripped(struct lab *lab)
{
	const char *name = family_name(lab->family);
	long long resets = counter("Tcp", "OutRsts");
	struct segment seen;
	struct segment got;

	lab->home.v4.sin_port = htons(HOME_PORT + 100);
	place_enter(lab->places, ROUTER);
	run("nft 'table inet strip { chain forward { type filter hook forward priority -1;"
	    " reset tcp option md5sig; }; }'");
	place_enter(lab->places, HOME);
	seen = send_syn(lab, 0x12345678);
	is_uint(seen.option, OPTION_NONE, "%s: a router can strip the option", name);
	ok(segment_receive(lab->raw[HOME], &lab->home, &got), "%s: the far kernel answers", name);
	is_uint(got.flags, FLAG_SYN | FLAG_ACK, "%s: with a SYN-ACK", name);
	is_uint(got.option, OPTION_NONE, "%s: without an option", name);
	is_int(counter("Tcp", "OutRsts") - resets, 1, "%s: and home resets it", name);
	place_enter(lab->places, ROUTER);
	run("nft delete table inet strip");
	place_enter(lab->places, HOME);
}

static void check_family(struct lab *lab, int family)
{
	int listeners[PLACES];
	uint16_t port = HOME_PORT;

	lab->family = family;
	lab->home = address_of_place(family, HOME, HOME_PORT);
	lab->far = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	place_enter(lab->places, OUTSIDE);
	lab->raw[OUTSIDE] = raw_socket(family);
	listeners[OUTSIDE] = must_listen(family, OUTSIDE_PORT);
	place_enter(lab->places, HOME);
	lab->raw[HOME] = raw_socket(family);
	listeners[HOME] = must_listen(family, HOME_PORT);

	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		check_variant(lab, &variants[i], port++);
	check_stripped(lab);

	close(lab->raw[HOME]);
	close(lab->raw[OUTSIDE]);
	close(listeners[HOME]);
	close(listeners[OUTSIDE]);
}

int main(void)
{
	struct lab lab;

	places_build(lab.places);
	places_add_nat(lab.places);
	check_family(&lab, AF_INET);
	check_family(&lab, AF_INET6);
	return done_testing();
}
