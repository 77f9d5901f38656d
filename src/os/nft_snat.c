/*
 * The netlink socket owns the table: the kernel removes it with the socket's last descriptor, at
 * the latest when the process ends. Its name is the socket's port id, which no other netlink socket
 * of this network namespace has at the same time.
 */
#include "natpunch/os/nft_snat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#define ANSWER_SIZE 8192 /* more than any answer to one question of ours */

const struct sandbox_call translation_calls[] = {
	SANDBOX_WHEN2(socket, 0, SANDBOX_WHOLE, AF_NETLINK, 2, SANDBOX_WHOLE, NETLINK_NETFILTER),
	SANDBOX_END,
};

const struct sandbox_call nft_snat_calls[] = {
#ifdef __NR_socketcall
	SANDBOX_CALL(socketcall), /* see socket_calls */
#endif
	SANDBOX_CALL(sendto),
	SANDBOX_CALL(recvfrom),
	SANDBOX_END,
};

int nft_snat_open(struct error *error)
{
	struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	int one = 1;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);

	if (fd < 0)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot open a netlink socket: %s",
			errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT
				? "this kernel has no netfilter"
				: strerror(errno));
	/* The kernel gives it a port id. */
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)) != 0) {
		error_set(error, EXIT_STATUS_LOCAL, "cannot bind a netlink socket: %s",
			strerror(errno));
		close(fd);
		return -1;
	}
	/* Acknowledgements without a copy of the question. Not vital. */
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	return fd;
}

/* Sends to the kernel. Returns 0, or an errno value. */
static int send_all(int fd, const void *data, size_t size)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t sent;

	if (size == 0)
		return ENOBUFS;
	sent = sendto(fd, data, size, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	if (sent < 0)
		return errno;
	return (size_t)sent == size ? 0 : EIO;
}

/* One datagram from the kernel, and from nobody else. Returns 0, or an errno value. */
static int receive(int fd, uint8_t bytes[ANSWER_SIZE], size_t *size)
{
	*size = 0;
	for (;;) {
		struct sockaddr_nl from = {.nl_family = AF_NETLINK};
		socklen_t length = sizeof(from);
		ssize_t got =
			recvfrom(fd, bytes, ANSWER_SIZE, 0, (struct sockaddr *)&from, &length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		if (from.nl_pid != 0)
			continue;
		*size = (size_t)got;
		return 0;
	}
}

/*
 * Reads acknowledgements until the rule's has come, or the first that is an error. Returns 0, or an
 * errno value with *sequence as that of the message that it is for.
 */
static int read_acknowledgements(int fd, uint32_t *sequence)
{
	uint8_t bytes[ANSWER_SIZE];
	struct netlink_message message;
	struct wire_reader reader;
	size_t size = 0;
	int code;

	*sequence = 0;
	for (;;) {
		int problem = receive(fd, bytes, &size);

		if (problem != 0)
			return problem;
		wire_reader_start(&reader, bytes, size);
		while (netlink_message_next(&reader, &message)) {
			if (!netlink_message_read_error(&message, &code))
				continue;
			*sequence = message.sequence;
			if (code != 0 || message.sequence == NFT_MESSAGE_RULE)
				return code;
		}
	}
}

static int explain(int problem, uint32_t sequence, struct error *error)
{
	static const char other[] = "another method may do: -m repair or -m raw";
	const char *why;

	if (problem == EPERM || problem == EACCES)
		return error_set(error, EXIT_STATUS_LOCAL, "cannot add a source NAT rule: %s",
			strerror(problem));
	if (sequence == NFT_MESSAGE_BATCH_BEGIN && (problem == EOPNOTSUPP || problem == EINVAL))
		why = "this kernel has no nf_tables";
	else if (sequence == NFT_MESSAGE_TABLE && (problem == EOPNOTSUPP || problem == EINVAL))
		why = "this kernel is older than Linux 5.12 and could leave the rule behind";
	else if (problem == EOPNOTSUPP || problem == ENOENT || problem == EAFNOSUPPORT)
		why = "this kernel's nf_tables lacks NAT";
	else
		why = strerror(problem);
	error_set(error, EXIT_STATUS_LOCAL, "cannot add a source NAT rule: %s", why);
	return error_hint(error, "%s", other);
}

int nft_snat_add(int fd, const struct nft_message_flow *flow, uint16_t port, struct error *error)
{
	struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	socklen_t length = sizeof(own);
	uint8_t batch[NFT_MESSAGE_BATCH_SIZE];
	uint32_t sequence = 0;
	char table[32];
	size_t size = 0;
	int problem;

	if (getsockname(fd, (struct sockaddr *)&own, &length) != 0)
		return explain(errno, 0, error);
	snprintf(table, sizeof(table), "natpunch-%u", own.nl_pid);
	size = nft_message_write_rewrite(batch, sizeof(batch), table, flow, port);
	problem = send_all(fd, batch, size);
	if (problem == 0)
		problem = read_acknowledgements(fd, &sequence);
	return problem == 0 ? 0 : explain(problem, sequence, error);
}

/* One request about the table of connections, and where its answers are to be read. */
static int ask_table(int fd, const uint8_t *request, size_t request_size,
	uint8_t bytes[ANSWER_SIZE], struct wire_reader *reader)
{
	size_t size = 0;

	if (send_all(fd, request, request_size) != 0 || receive(fd, bytes, &size) != 0)
		return -1;
	wire_reader_start(reader, bytes, size);
	return 0;
}

int nft_snat_find(int fd, const struct nft_message_flow *flow, struct nft_message_entry *out)
{
	uint8_t request[NFT_MESSAGE_REQUEST_SIZE];
	uint8_t bytes[ANSWER_SIZE];
	struct netlink_message message;
	struct wire_reader reader;
	size_t size = nft_message_write_find(request, sizeof(request), flow);
	int code;

	if (ask_table(fd, request, size, bytes, &reader) != 0)
		return -1;
	while (netlink_message_next(&reader, &message)) {
		if (message.sequence != NFT_MESSAGE_CONNTRACK)
			continue;
		if (nft_message_read_entry(&message, out))
			return 1;
		if (netlink_message_read_error(&message, &code))
			return code == ENOENT ? 0 : -1;
	}
	return -1;
}

int nft_snat_forget(int fd, const struct nft_message_entry *entry)
{
	uint8_t request[NFT_MESSAGE_REQUEST_SIZE];
	uint8_t bytes[ANSWER_SIZE];
	struct netlink_message message;
	struct wire_reader reader;
	size_t size = nft_message_write_delete(request, sizeof(request), entry);
	int code;

	if (ask_table(fd, request, size, bytes, &reader) != 0)
		return -1;
	while (netlink_message_next(&reader, &message))
		if (message.sequence == NFT_MESSAGE_CONNTRACK &&
			netlink_message_read_error(&message, &code))
			return code == 0 || code == ENOENT ? 0 : -1;
	return -1;
}
