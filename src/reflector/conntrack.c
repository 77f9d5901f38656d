/*
 * A connection that ends without a packet (socket_forget()), and a raw handshake, stay established
 * in every connection tracking table that saw them. In the NATs on the way that is the purpose. In
 * the reflector's own host each entry would stay for days in a table of bounded size, and a client
 * that makes enough of them would take the host off the network.
 *
 * To delete an entry takes a netlink socket to netfilter and CAP_NET_ADMIN, with which a process
 * can also change the host's packet filter. So a helper process has that socket, and not the
 * reflector, which everybody can send to. The helper starts before any port is open, reads flows of
 * a fixed size from a pipe, and is confined to reading and asking the kernel. It ends when the pipe
 * does: with the reflector, however that ends. It may outlive the reflector by a moment, so it
 * keeps nothing else open.
 *
 * A flow is shorter than PIPE_BUF, so the pipe keeps it whole whichever worker writes it, and a
 * read returns whole flows. The helper trusts nothing in a flow except its size. When the pipe is
 * full a flow is dropped, and its entry stays.
 */
#include "reflector/conntrack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "natpunch/os/confinement.h"
#include "natpunch/os/descriptors.h"
#include "natpunch/os/log.h"
#include "natpunch/os/nft_snat.h"
#include "natpunch/os/socket_linux.h"

#define PIPE_SIZE (1024 * 1024) /* some 15000 flows */
#define BATCH     64

static_assert(sizeof(struct nft_message_flow) <= PIPE_BUF, "no flow is split");

static bool is_flow(const struct nft_message_flow *flow)
{
	return flow->protocol == MAPPING_TCP && flow->source.family == flow->destination.family &&
	       (flow->source.family == ADDR_IPV4 || flow->source.family == ADDR_IPV6);
}

static int confine(const struct reflector_config *config, struct error *error)
{
	struct confinement_lists lists = {.count = 0};

	if (!config->has_user)
		privileges_keep(PRIVILEGES_NET_ADMIN);
	else if (privileges_become(&config->user, PRIVILEGES_NET_ADMIN, error) != 0)
		return -1;
	privileges_lock();
	privileges_forbid_processes();
	confinement_of_files(NULL, 0, false);
	confinement_add_calls(&lists, sandbox_basic_calls);
	confinement_add_calls(&lists, nft_snat_calls);
	return confinement_of_calls(lists.all, error);
}

/* The helper's whole life; the pipe is its standard input. Returns its exit status. */
static int serve(int netlink, const struct reflector_config *config)
{
	struct nft_message_flow flows[BATCH];
	struct error error;
	sigset_t all;
	ssize_t got;

	/* It ends with the reflector, and not by a signal that a terminal sends to both. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	log_set_level(LOG_LEVEL_QUIET);
	if (confine(config, &error) != 0)
		return (int)error.status;
	while ((got = read(STDIN_FILENO, flows, sizeof(flows))) > 0)
		for (size_t i = 0; i < (size_t)got / sizeof(flows[0]); i++) {
			struct nft_message_entry entry = {.original = flows[i]};

			if (is_flow(&flows[i]))
				nft_snat_forget(netlink, &entry);
		}
	return 0;
}

/* Returns the end to write to, or -1 and errno. */
static int start(int netlink, const struct reflector_config *config)
{
	int ends[2];
	pid_t helper;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
	if (fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0) {
		helper = fork();
		if (helper == 0) {
			if (dup2(ends[0], STDIN_FILENO) < 0)
				_exit(1);
			descriptors_close_from(STDERR_FILENO + 1, netlink);
			_exit(serve(netlink, config));
		}
		if (helper > 0) {
			close(ends[0]);
			return ends[1];
		}
	}
	close(ends[0]);
	close(ends[1]);
	return -1;
}

void conntrack_open(struct conntrack *conntrack, const struct reflector_config *config)
{
	struct error error;
	int netlink;

	conntrack->pipe = -1;
	if (!config->confine || !socket_can_forget())
		return;
	netlink = nft_snat_open(&error);
	if (netlink < 0) {
		log_detail("this host's connection tracking is left alone: %s", error.text);
		return;
	}
	conntrack->pipe = start(netlink, config);
	if (conntrack->pipe < 0)
		log_detail("this host's connection tracking is left alone: %s", strerror(errno));
	close(netlink);
}

void conntrack_close(struct conntrack *conntrack)
{
	if (conntrack->pipe >= 0)
		close(conntrack->pipe);
	conntrack->pipe = -1;
}

void conntrack_forget(
	const struct conntrack *conntrack, const struct addr *local, const struct addr *peer)
{
	struct nft_message_flow flow;

	if (conntrack->pipe < 0)
		return;
	memset(&flow, 0, sizeof(flow));
	flow.protocol = MAPPING_TCP;
	flow.source = *peer;
	flow.destination = *local;
	if (write(conntrack->pipe, &flow, sizeof(flow)) < 0 && log_admits())
		log_detail("connection tracking of this host: an entry stays: %s", strerror(errno));
}
