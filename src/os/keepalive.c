/*
 * What the fields of struct tcp_info say (Linux; by reading net/ipv4 and by tests/unit/os):
 *
 *   tcpi_probes          unanswered keep-alives and zero-window probes. Each acknowledgement makes
 *                        it 0.
 *   tcpi_retransmits     how often the oldest bytes were sent again when their time was up. While
 *                        bytes are on their way there are no keep-alives: these stand for them.
 *   tcpi_last_ack_recv   since the last acknowledgement came.
 *   tcpi_last_data_recv  since the last byte came: a stream in one direction need not make the
 *                        kernel note its acknowledgements.
 *
 * One keep-alive may be on its way, or its answer lost. So a peer is dead when two are unanswered
 * and it was silent for long enough. A peer that does not read (a window of zero) answers each
 * probe, and lives.
 */
#include "natpunch/os/keepalive.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "natpunch/os/socket.h"

#define ASKED_IN_VAIN 2

void keepalive_start(int fd)
{
	socket_set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_PROBE_S);
	socket_set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

uint32_t keepalive_dead_ms(int fd, uint32_t dead_ms)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);
	uint32_t silent;

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
		(info.tcpi_probes < ASKED_IN_VAIN && info.tcpi_retransmits < ASKED_IN_VAIN))
		return 0;
	silent = info.tcpi_last_ack_recv < info.tcpi_last_data_recv ? info.tcpi_last_ack_recv
								    : info.tcpi_last_data_recv;
	return silent >= dead_ms ? silent : 0;
}
