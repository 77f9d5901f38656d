/*
 * Fact: one source NAT rule in the local output path makes a connection from any port come from a
 *port that somebody else listens on, and a table with NFT_TABLE_F_OWNER (Linux 5.12) vanishes with
 *the socket that made it, even when its process is killed.
 *
 * The rule sits in a NAT chain at the postrouting hook, which local packets pass as well, and
 *matches the one connection. Answers are translated back before the kernel looks for a socket, so
 *the listener never sees them. Where no other NAT rule exists, translation ends with the table:
 *what the connection sends then leaves from its own port, and is reset.
 *
 * Everything goes over one netlink socket, without nft(8). A batch, as the kernel wants it:
 *
 *	NFNL_MSG_BATCH_BEGIN   subsystem in res_id, big-endian
 *	NFT_MSG_NEWTABLE       name, flags = NFT_TABLE_F_OWNER
 *	NFT_MSG_NEWCHAIN       table, name, hook { postrouting, priority }, type "nat"
 *	NFT_MSG_NEWRULE        table, chain, expressions
 *	NFNL_MSG_BATCH_END
 *
 * Each header is struct nlmsghdr, struct nfgenmsg, then attributes padded to four bytes; integers
 *in attributes are big-endian.
 */
#include "platform.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 0x2
#endif

#define TABLE           "natpunch-test"
#define CHAIN           "out"
#define PRIORITY_SRCNAT 100

struct batch {
	uint8_t bytes[2048];
	size_t size;
	size_t message; /* where the message begins that is being written */
	uint32_t sequence;
};

static void batch_put(struct batch *batch, const void *bytes, size_t size)
{
	size_t padded = NLMSG_ALIGN(size);

	if (padded > sizeof(batch->bytes) - batch->size)
		bail_out("batch too long");
	memset(batch->bytes + batch->size, 0, padded);
	memcpy(batch->bytes + batch->size, bytes, size);
	batch->size += padded;
}

static void message_begin(
	struct batch *batch, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	struct nlmsghdr header = {
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
		.nlmsg_seq = ++batch->sequence,
	};
	struct nfgenmsg generic = {
		.nfgen_family = family,
		.version = NFNETLINK_V0,
		.res_id = htons(resource),
	};

	batch->message = batch->size;
	batch_put(batch, &header, sizeof(header));
	batch_put(batch, &generic, sizeof(generic));
}

static void message_end(struct batch *batch)
{
	uint32_t size = (uint32_t)(batch->size - batch->message);

	memcpy(batch->bytes + batch->message, &size, sizeof(size));
}

static void attribute(struct batch *batch, uint16_t type, const void *bytes, size_t size)
{
	struct nlattr header = {.nla_len = (uint16_t)(sizeof(header) + size), .nla_type = type};
	uint8_t whole[sizeof(header) + 64];

	if (size > sizeof(whole) - sizeof(header))
		bail_out("attribute too long");
	memcpy(whole, &header, sizeof(header));
	memcpy(whole + sizeof(header), bytes, size);
	batch_put(batch, whole, header.nla_len);
}

static void attribute_u32(struct batch *batch, uint16_t type, uint32_t value)
{
	uint32_t big = htonl(value);

	attribute(batch, type, &big, sizeof(big));
}

static void attribute_text(struct batch *batch, uint16_t type, const char *text)
{
	attribute(batch, type, text, strlen(text) + 1);
}

/* Opens an attribute that holds others. Returns its place, for nest_end(). */
static size_t nest_begin(struct batch *batch, uint16_t type)
{
	size_t place = batch->size;

	attribute(batch, type | NLA_F_NESTED, "", 0);
	return place;
}

static void nest_end(struct batch *batch, size_t place)
{
	uint16_t size = (uint16_t)(batch->size - place);

	memcpy(batch->bytes + place, &size, sizeof(size));
}

/* The frame of an expression; what is put between begin and end are its own attributes. */
struct expression {
	size_t element;
	size_t data;
};

static struct expression expression_begin(struct batch *batch, const char *name)
{
	struct expression expression = {.element = nest_begin(batch, NFTA_LIST_ELEM)};

	attribute_text(batch, NFTA_EXPR_NAME, name);
	expression.data = nest_begin(batch, NFTA_EXPR_DATA);
	return expression;
}

static void expression_end(struct batch *batch, struct expression expression)
{
	nest_end(batch, expression.data);
	nest_end(batch, expression.element);
}

/* Loads what meta knows of the packet, one byte of it, and compares. */
static void match_protocol(struct batch *batch, uint8_t protocol)
{
	struct expression expression = expression_begin(batch, "meta");
	size_t data;

	attribute_u32(batch, NFTA_META_DREG, NFT_REG_1);
	attribute_u32(batch, NFTA_META_KEY, NFT_META_L4PROTO);
	expression_end(batch, expression);

	expression = expression_begin(batch, "cmp");
	attribute_u32(batch, NFTA_CMP_SREG, NFT_REG_1);
	attribute_u32(batch, NFTA_CMP_OP, NFT_CMP_EQ);
	data = nest_begin(batch, NFTA_CMP_DATA);
	attribute(batch, NFTA_DATA_VALUE, &protocol, 1);
	nest_end(batch, data);
	expression_end(batch, expression);
}

/* Loads bytes of a header and compares them. */
static void match_header(
	struct batch *batch, uint32_t base, uint32_t offset, const void *bytes, size_t size)
{
	struct expression expression = expression_begin(batch, "payload");
	size_t data;

	attribute_u32(batch, NFTA_PAYLOAD_DREG, NFT_REG_1);
	attribute_u32(batch, NFTA_PAYLOAD_BASE, base);
	attribute_u32(batch, NFTA_PAYLOAD_OFFSET, offset);
	attribute_u32(batch, NFTA_PAYLOAD_LEN, (uint32_t)size);
	expression_end(batch, expression);

	expression = expression_begin(batch, "cmp");
	attribute_u32(batch, NFTA_CMP_SREG, NFT_REG_1);
	attribute_u32(batch, NFTA_CMP_OP, NFT_CMP_EQ);
	data = nest_begin(batch, NFTA_CMP_DATA);
	attribute(batch, NFTA_DATA_VALUE, bytes, size);
	nest_end(batch, data);
	expression_end(batch, expression);
}

/* Changes the source port and leaves the source address. */
static void rewrite_source(struct batch *batch, uint8_t family, uint16_t port)
{
	struct expression expression = expression_begin(batch, "immediate");
	uint16_t big = htons(port);
	size_t data;

	attribute_u32(batch, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	data = nest_begin(batch, NFTA_IMMEDIATE_DATA);
	attribute(batch, NFTA_DATA_VALUE, &big, sizeof(big));
	nest_end(batch, data);
	expression_end(batch, expression);

	expression = expression_begin(batch, "nat");
	attribute_u32(batch, NFTA_NAT_TYPE, NFT_NAT_SNAT);
	attribute_u32(batch, NFTA_NAT_FAMILY, family);
	attribute_u32(batch, NFTA_NAT_REG_PROTO_MIN, NFT_REG_1);
	expression_end(batch, expression);
}

static void put_table(struct batch *batch, uint8_t family, uint32_t flags)
{
	message_begin(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE,
		NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, family, 0);
	attribute_text(batch, NFTA_TABLE_NAME, TABLE);
	attribute_u32(batch, NFTA_TABLE_FLAGS, flags);
	message_end(batch);
}

static void put_chain(struct batch *batch, uint8_t family)
{
	size_t hook;

	message_begin(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_ACK,
		family, 0);
	attribute_text(batch, NFTA_CHAIN_TABLE, TABLE);
	attribute_text(batch, NFTA_CHAIN_NAME, CHAIN);
	hook = nest_begin(batch, NFTA_CHAIN_HOOK);
	attribute_u32(batch, NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING);
	attribute_u32(batch, NFTA_HOOK_PRIORITY, PRIORITY_SRCNAT);
	nest_end(batch, hook);
	attribute_text(batch, NFTA_CHAIN_TYPE, "nat");
	message_end(batch);
}

/* The rule for one connection: its four-tuple, seen as it leaves, comes from port instead. */
static void put_rule(struct batch *batch, uint8_t family, const union address *from,
	const union address *to, uint16_t port)
{
	uint16_t ports[2] = {from->v4.sin_port, to->v4.sin_port};
	size_t list;

	message_begin(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
		NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, family, 0);
	attribute_text(batch, NFTA_RULE_TABLE, TABLE);
	attribute_text(batch, NFTA_RULE_CHAIN, CHAIN);
	list = nest_begin(batch, NFTA_RULE_EXPRESSIONS);
	match_protocol(batch, IPPROTO_TCP);
	/* Source and destination address: RFC 791, section 3.1; RFC 8200, section 3. */
	if (family == NFPROTO_IPV6) {
		match_header(batch, NFT_PAYLOAD_NETWORK_HEADER, 8, &from->v6.sin6_addr, 16);
		match_header(batch, NFT_PAYLOAD_NETWORK_HEADER, 24, &to->v6.sin6_addr, 16);
	} else {
		match_header(batch, NFT_PAYLOAD_NETWORK_HEADER, 12, &from->v4.sin_addr, 4);
		match_header(batch, NFT_PAYLOAD_NETWORK_HEADER, 16, &to->v4.sin_addr, 4);
	}
	match_header(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 0, ports, sizeof(ports));
	rewrite_source(batch, family, port);
	nest_end(batch, list);
	message_end(batch);
}

static int netlink_socket(void)
{
	struct timeval patience = {.tv_sec = PATIENCE / 1000};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		bail_out("netlink: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		bail_out("SO_RCVTIMEO: %s", strerror(errno));
	return fd;
}

/*
 * Sends messages and reads answers until one is an error or all that are wanted have come: an
 * acknowledgment, or any other answer, each. Returns 0 or the errno.
 */
static int batch_send(int fd, const struct batch *batch, unsigned int answers)
{
	union {
		struct nlmsghdr header;
		uint8_t bytes[8192];
	} buffer;

	if (send(fd, batch->bytes, batch->size, 0) != (ssize_t)batch->size)
		return errno;
	while (answers > 0) {
		ssize_t got = recv(fd, &buffer, sizeof(buffer), 0);
		const struct nlmsghdr *header = &buffer.header;

		if (got < 0)
			return errno;
		for (unsigned int left = (unsigned int)got; NLMSG_OK(header, left);
			header = NLMSG_NEXT(header, left), answers--) {
			const struct nlmsgerr *error = NLMSG_DATA(header);

			if (header->nlmsg_type == NLMSG_ERROR && error->error != 0)
				return -error->error;
			if (answers == 1)
				return 0;
		}
	}
	return 0;
}

/* Installs table, chain and rule in one transaction. Returns 0 or the errno. */
static int rewrite_install(
	int fd, uint32_t flags, const union address *from, const union address *to, uint16_t port)
{
	uint8_t family = from->any.sa_family == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	struct batch batch = {.size = 0};

	message_begin(&batch, NFNL_MSG_BATCH_BEGIN, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(&batch);
	put_table(&batch, family, flags);
	put_chain(&batch, family);
	put_rule(&batch, family, from, to, port);
	message_begin(&batch, NFNL_MSG_BATCH_END, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(&batch);
	return batch_send(fd, &batch, 3);
}

/* Asks for the table. Returns 0 if it is there, ENOENT if not. */
static int table_look_up(int family)
{
	struct batch batch = {.size = 0};
	int fd = netlink_socket();
	int error;

	message_begin(&batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0,
		family == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4, 0);
	attribute_text(&batch, NFTA_TABLE_NAME, TABLE);
	message_end(&batch);
	error = batch_send(fd, &batch, 1);
	close(fd);
	return error;
}

/*
 * Starts a process that installs the rule and then waits to be killed. Stores the errno of the
 * installation, or 0, in *error. Returns its id.
 */
static pid_t owner_start(uint32_t flags, bool privileged, const union address *from,
	const union address *to, int *error)
{
	int ready[2];
	pid_t owner;

	if (pipe2(ready, O_CLOEXEC) != 0)
		bail_out("pipe: %s", strerror(errno));
	owner = fork();
	if (owner < 0)
		bail_out("fork: %s", strerror(errno));
	if (owner == 0) {
		int result = privileged || setuid(65534) == 0 ? 0 : errno;

		if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
			_exit(1);
		if (result == 0)
			result = rewrite_install(netlink_socket(), flags, from, to, HOME_PORT);
		if (write(ready[1], &result, sizeof(result)) != sizeof(result))
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], error, sizeof(*error)) != sizeof(*error))
		bail_out("the owner of the table died");
	close(ready[0]);
	return owner;
}

static void owner_kill(pid_t owner)
{
	int status;

	if (kill(owner, SIGKILL) != 0 || waitpid(owner, &status, 0) != owner)
		bail_out("kill: %s", strerror(errno));
}

/* A socket bound to any port of home; its address, as it will leave, goes to *from. */
static int bind_anywhere(int family, union address *from)
{
	socklen_t size = sizeof(*from);
	int fd = tcp_socket(family);

	*from = address_of_place(family, HOME, 0);
	if (try_bind(fd, from) != 0 || getsockname(fd, &from->any, &size) != 0)
		bail_out("bind: %s", strerror(errno));
	return fd;
}

static void check_owner(int family, int listener, int far_listener)
{
	const char *name = family_name(family);
	union address to = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	union address from;
	union address seen = address_of(family, NULL, 0);
	long long resets = counter("Tcp", "OutRsts");
	int near = bind_anywhere(family, &from);
	int error;
	int far;
	char byte;
	pid_t owner = owner_start(NFT_TABLE_F_OWNER, true, &from, &to, &error);

	if (!is_errno(error, 0, "%s: a table with an owner, a chain and a rule", name))
		diag("EOPNOTSUPP or EINVAL: older than Linux 5.12; EPROTONOSUPPORT: no nf_tables");
	is_errno(table_look_up(family), 0, "%s: the table is there", name);
	is_errno(try_connect(near, &to), 0, "%s: connect from any port", name);
	far = accept_from(far_listener, &seen);
	ok(far >= 0, "%s: the far end accepts", name);
	is_uint(address_port(&seen), HOME_PORT, "%s: and sees port %d", name, HOME_PORT);
	ok(byte_passes(near, far) && byte_passes(far, near), "%s: bytes pass both ways", name);
	is_int(option_get(listener, SOL_SOCKET, SO_ACCEPTCONN), 1, "%s: the listener listens",
		name);
	is_int(counter("Tcp", "OutRsts") - resets, 0, "%s: and saw none of it", name);

	owner_kill(owner);
	is_errno(table_look_up(family), ENOENT, "%s: the owner killed, the table is gone", name);
	ok(send(near, "x", 1, MSG_NOSIGNAL) == 1 && recv(near, &byte, 1, 0) < 0 &&
			errno == ECONNRESET,
		"%s: and the connection with it", name);
	close(near);
	close_silently(far);
}

static void check_control(int family)
{
	const char *name = family_name(family);
	union address to = address_of_place(family, OUTSIDE, OUTSIDE_PORT);
	union address from;
	int near = bind_anywhere(family, &from);
	int error;
	pid_t owner = owner_start(NFT_TABLE_F_OWNER, false, &from, &to, &error);

	owner_kill(owner);
	is_errno(error, EPERM, "%s: without CAP_NET_ADMIN there is no table", name);
	is_errno(table_look_up(family), ENOENT, "%s: none at all", name);
	owner_kill(owner_start(0, true, &from, &to, &error));
	is_errno(error, 0, "%s: a table without an owner", name);
	is_errno(table_look_up(family), 0, "%s: stays when its maker is killed", name);
	close(near);
}

static void check_family(const int places[PLACES], int family)
{
	int listener = must_listen(family, HOME_PORT);
	int far_listener;

	place_enter(places, OUTSIDE);
	far_listener = must_listen(family, OUTSIDE_PORT);
	place_enter(places, HOME);
	check_owner(family, listener, far_listener);
	check_control(family);
	close(far_listener);
	close(listener);
}

int main(void)
{
	int places[PLACES];

	places_build(places);
	check_family(places, AF_INET);
	check_family(places, AF_INET6);
	return done_testing();
}
