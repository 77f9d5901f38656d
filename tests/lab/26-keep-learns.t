#!/bin/sh
# A NAT that forgets an idle connection sooner than the keep-alive comes: the
# new mapping is told, and from then on the keep-alive comes sooner.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack nc.openbsd

natpunch=$lab_top/natpunch
export LAB_NAT_ESTABLISHED=8 LAB_NAT_UDP=8
# A symmetric NAT gives another port after it forgot, which is how it shows.
lab_start symmetric open
lab_spawn reflect reflector "$natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
lab_spawn keep home "$natpunch" probe -k -v -i 12 -r "$LAB_REFLECTOR4"
lab_spawn udp home "$natpunch" probe -k -v -i 12 -u -p 4000 -r "$LAB_REFLECTOR4"
lab_spawn raw home "$natpunch" probe -k -v -i 12 -m raw -p 4001 -r "$LAB_REFLECTOR4"

# NAME: what it has printed is two lines.
two_lines()
{
	[ "$(wc -l <"$LAB_DIR/$1.out")" -eq 2 ]
}
for name in keep udp raw; do
	ok "$name: a mapping is there" wait_for_line 5 "$LAB_DIR/$name.out" .
done
for name in keep udp raw; do
	ok "$name: it is lost while idle, and another is told" wait_for 20 two_lines "$name"
	ok "$name: that is learnt from" wait_for_line 2 "$LAB_DIR/$name.err" \
		'the mapping was lost while idle: keep-alives every 6 s from now on$'
done

# Longer than the old interval, and with it than the NAT's patience.
lab_clock
until=$((lab_now + 1400))
over()
{
	lab_clock
	[ "$lab_now" -ge "$until" ]
}
wait_for 16 over
for name in keep udp raw; do
	ok "$name: from then on it is kept" two_lines "$name"
done
is "as the NAT has it" "$(tail -n 1 "$LAB_DIR/keep.out")" \
	"$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478 | tail -n 1)"

# The address of -b comes after the start, as at boot.
lab_spawn early home "$natpunch" probe -k -p 2222 -b 192.168.77.2 -r 127.0.0.1
ok "an address that is not there is waited for" wait_for_line 5 "$LAB_DIR/early.err" 'trying again$'
lab_exec home ip addr add 192.168.77.2/32 dev lo
lab_spawn near home "$natpunch" reflect -q
ok "until it is" wait_for_line 10 "$LAB_DIR/early.out" '^192\.168\.77\.2 2222$'

# The service manager is told at once that it runs, and how far it is; the advice goes with -u.
lab_spawn manager home nc.openbsd -lkUu "$LAB_DIR/notify"
wait_for 5 test -S "$LAB_DIR/notify" || bail 'no service manager'
NOTIFY_SOCKET=$LAB_DIR/notify
export NOTIFY_SOCKET
lab_spawn alone home "$natpunch" probe -k -p 2223 -r 198.51.100.77
ok "nobody answers: it is ready all the same" wait_for_line 5 "$LAB_DIR/manager.out" 'READY=1'
nok "nobody answers: and has nothing" test -s "$LAB_DIR/alone.out"
lab_kill alone
lab_spawn datagrams home "$natpunch" probe -k -u -p 2224 -r "$LAB_REFLECTOR4"
ok "UDP: the status has an advice that goes with -u" wait_for_line 5 "$LAB_DIR/manager.out" \
	'STATUS=kept as [^ ]*:[0-9]*, not verified \(-V\)'
unset NOTIFY_SOCKET

done_testing
