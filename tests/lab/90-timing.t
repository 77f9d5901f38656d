#!/bin/sh
# How long a probe takes, over a line of 20 ms each way: two round trips and
# nothing else that can be seen. And what it costs.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft tcpdump

natpunch=$lab_top/natpunch
LAB_DELAY=20
lab_start port-restricted open
lab_spawn reflect reflector "$natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"

# Milliseconds that a command takes, the least of five: the machine may be busy.
least_ms()
{
	least=1000000
	for _ in 1 2 3 4 5; do
		start=$(date +%s%N)
		"$@" >/dev/null || return 1
		took=$((($(date +%s%N) - start) / 1000000))
		[ "$took" -ge "$least" ] || least=$took
	done
	echo "$least"
}

empty=$(least_ms lab_exec home true)
took=$(least_ms lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4")
note "an empty command takes $empty ms in there, a probe $took ms"
# A third round trip would make it 120, and a second one over UDP 80.
between "two round trips of 40 ms and little else" "$took" 80 115

udp=$(least_ms lab_exec home "$natpunch" probe -u -p 5000 -r "$LAB_REFLECTOR4")
note "over UDP $udp ms"
between "one round trip over UDP" "$udp" 40 75

# A dead reflector in front costs the stagger of a quarter of a second.
dead=$(least_ms lab_exec home "$natpunch" probe -r 198.51.100.77 -r "$LAB_REFLECTOR4")
note "with a dead one in front $dead ms"
between "a dead reflector in front costs little" "$dead" 80 $((400 + empty))

# The reflector forgets a connection shortly after its answer was acknowledged.
forgotten()
{
	[ -z "$(lab_exec reflector ss -tnH 'sport = :3478')" ]
}
ok "the reflector forgets without being told" wait_for 2 forgotten
lab_capture wire home eth0 'tcp port 3478'
lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" >/dev/null
seen()
{
	[ "$(lab_captured wire | wc -l)" -ge 6 ]
}
ok "all packets are seen" wait_for 2 seen
forgotten_and_seen=$(wait_for 2 forgotten && lab_captured wire)
note "$forgotten_and_seen"
is "one SYN and one SYN-ACK" "$(lab_captured wire 'tcp[tcpflags] & tcp-syn != 0' | wc -l)" 2
is "no FIN and no RST, from neither end" \
	"$(lab_captured wire 'tcp[tcpflags] & (tcp-fin | tcp-rst) != 0' | wc -l)" 0

done_testing
