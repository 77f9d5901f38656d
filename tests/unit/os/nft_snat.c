/*
 * What is said of a kernel that refuses. The kernel is played by the other end of a pair of
 * sockets, on which the answer waits before the question comes.
 */
#include "natpunch/os/nft_snat.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

static const struct nft_message_flow flow = {
	.protocol = MAPPING_TCP,
	.source = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 40000},
	.destination = {.family = ADDR_IPV4, .ip = {198, 51, 100, 7}, .port = 3478},
};

struct pair {
	int ours;
	int kernel;
};

static struct pair pair_make(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
		bail_out("socketpair: %s", strerror(errno));
	return (struct pair){.ours = fds[0], .kernel = fds[1]};
}

static void pair_close(struct pair pair)
{
	close(pair.ours);
	close(pair.kernel);
}

static void answer(struct pair pair, uint16_t type, uint32_t sequence, int problem)
{
	struct netlink_message_writer writer;
	int32_t code = -problem;
	uint8_t bytes[64];

	netlink_message_writer_start(&writer, bytes, sizeof(bytes));
	netlink_message_begin(&writer, type, 0, sequence);
	wire_write_bytes(&writer.wire, &code, sizeof(code));
	wire_write_zeros(&writer.wire, NETLINK_MESSAGE_HEADER_SIZE);
	netlink_message_end(&writer);
	if (send(pair.kernel, bytes, netlink_message_writer_size(&writer), 0) < 0)
		bail_out("send: %s", strerror(errno));
}

/* The message with this sequence number fails with this error; those before it do not. */
static struct error refusal(uint32_t sequence, int problem)
{
	struct pair pair = pair_make();
	struct error error = {.text = "none"};

	for (uint32_t i = NFT_MESSAGE_TABLE; i < sequence; i++)
		answer(pair, NETLINK_MESSAGE_TYPE_ERROR, i, 0);
	answer(pair, NETLINK_MESSAGE_TYPE_ERROR, sequence, problem);
	is_int(nft_snat_add(pair.ours, &flow, 22, &error), -1, "%s", strerror(problem));
	is_int(error.status, EXIT_STATUS_LOCAL, "is this machine's refusal");
	pair_close(pair);
	return error;
}

static void test_refusals(void)
{
	static const struct {
		uint32_t sequence;
		int problem;
		const char *text;
	} rows[] = {
		{NFT_MESSAGE_BATCH_BEGIN, EPERM, "Operation not permitted"},
		{NFT_MESSAGE_BATCH_BEGIN, EOPNOTSUPP, "this kernel has no nf_tables"},
		{NFT_MESSAGE_TABLE, EINVAL,
			"this kernel is older than Linux 5.12 and could leave the rule behind"},
		{NFT_MESSAGE_TABLE, EOPNOTSUPP,
			"this kernel is older than Linux 5.12 and could leave the rule behind"},
		{NFT_MESSAGE_TABLE, EAFNOSUPPORT, "this kernel's nf_tables lacks NAT"},
		{NFT_MESSAGE_CHAIN, ENOENT, "this kernel's nf_tables lacks NAT"},
		{NFT_MESSAGE_CHAIN, EOPNOTSUPP, "this kernel's nf_tables lacks NAT"},
		{NFT_MESSAGE_RULE, ENOENT, "this kernel's nf_tables lacks NAT"},
		{NFT_MESSAGE_RULE, ENOMEM, NULL}, /* as the C library has it */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error error = refusal(rows[i].sequence, rows[i].problem);
		char want[256];

		snprintf(want, sizeof(want), "cannot add a source NAT rule: %s",
			rows[i].text != NULL ? rows[i].text : strerror(rows[i].problem));
		is_str(error.text, want, "is told in words");
		/* What a privilege mends is for the caller to say: it knows the method. */
		is_int(error.hint[0] == '\0', rows[i].problem == EPERM, "and what to do");
	}
}

static void test_added(void)
{
	struct pair pair = pair_make();
	struct error error = {.text = "none"};
	uint8_t bytes[NFT_MESSAGE_BATCH_SIZE];

	for (uint32_t i = NFT_MESSAGE_TABLE; i <= NFT_MESSAGE_RULE; i++)
		answer(pair, NETLINK_MESSAGE_TYPE_ERROR, i, 0);
	is_int(nft_snat_add(pair.ours, &flow, 22, &error), 0, "three acknowledgements: it is in");
	ok(recv(pair.kernel, bytes, sizeof(bytes), 0) > 0, "one message was sent");
	ok(recv(pair.kernel, bytes, sizeof(bytes), 0) < 0, "and no other");
	pair_close(pair);

	pair = pair_make();
	answer(pair, NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_TABLE, 0);
	is_int(nft_snat_add(pair.ours, &flow, 22, &error), -1,
		"without the last acknowledgement it is not");
	pair_close(pair);
}

/* What nft_snat_find() makes of one answer. */
static int found(uint16_t type, uint32_t sequence, int problem)
{
	struct pair pair = pair_make();
	struct nft_message_entry entry;
	int result;

	answer(pair, type, sequence, problem);
	result = nft_snat_find(pair.ours, &flow, &entry);
	pair_close(pair);
	return result;
}

static int forgotten(int problem)
{
	struct nft_message_entry entry = {.original = flow, .reply = flow};
	struct pair pair = pair_make();
	int result;

	answer(pair, NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_CONNTRACK, problem);
	result = nft_snat_forget(pair.ours, &entry);
	pair_close(pair);
	return result;
}

static void test_entries(void)
{
	struct nft_message_entry entry;
	struct pair pair = pair_make();

	is_int(found(NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_CONNTRACK, ENOENT), 0, "no entry");
	is_int(found(NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_CONNTRACK, EPERM), -1,
		"not permitted");
	is_int(found(NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_CONNTRACK, EINVAL), -1,
		"no ctnetlink");
	is_int(found(NETLINK_MESSAGE_TYPE_ERROR, NFT_MESSAGE_RULE, ENOENT), -1,
		"another question's answer");
	is_int(found(0x100, NFT_MESSAGE_CONNTRACK, 0), -1, "an entry of nothing");
	is_int(nft_snat_find(pair.ours, &flow, &entry), -1, "no answer");
	is_int(forgotten(0), 0, "deleted");
	is_int(forgotten(ENOENT), 0, "gone already");
	is_int(forgotten(EPERM), -1, "not permitted");
	pair_close(pair);
}

int main(void)
{
	test_refusals();
	test_added();
	test_entries();
	return done_testing();
}
