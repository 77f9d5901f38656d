#!/bin/sh
# probe -k by raw, which keeps a TCP mapping without a connection in any
# kernel, and over UDP from a port that a daemon holds: what they notice and how
# soon.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss

natpunch=$lab_top/natpunch

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# PROTO PORT: the last line is what the NAT holds.
agrees()
{
	[ -s "$LAB_DIR/keep.out" ] &&
		lab_mapping home "$1" "$2" "$LAB_REFLECTOR4" |
			grep -qxF "$(tail -n 1 "$LAB_DIR/keep.out")"
}

enters()
{
	# shellcheck disable=SC2046
	lab_banner third $(tail -n 1 "$LAB_DIR/keep.out") | grep -q '^SSH-2.0-'
}

lines()
{
	wc -l <"$LAB_DIR/keep.out"
}

# NAME PROTO PORT: the faults that only the far side of the router knows.
faults()
{
	ok "$1: a mapping is there" wait_for 10 agrees "$2" "$3"
	is "$1: one line" "$(lines)" 1
	lab_nat_flush home
	ok "$1: the NAT forgot everything, and holds it again" wait_for 10 agrees "$2" "$3"
	lab_nat_address home 203.0.113.20
	lab_nat_flush home
	ok "$1: the NAT has another address" wait_for 10 agrees "$2" "$3"
	like "$1: and that was told" "$(tail -n 1 "$LAB_DIR/keep.out")" '^203\.0\.113\.20 '
	is "$1: in one line" "$(lines)" 2
	lab_kill reflect KILL
	start_reflector
	lab_nat_flush home
	ok "$1: the reflector was killed and began again" wait_for 8 agrees "$2" "$3"
	is "$1: which changes nothing" "$(lines)" 2
}

lab_start full-cone-port open
start_reflector
lab_spawn keep home "$natpunch" probe -k -v -i 1 -m raw -r "$LAB_REFLECTOR4"
faults raw tcp 22
is "raw: no kernel has a connection for it" \
	"$(lab_exec home ss -tnH state all "sport = :22 and dport = :3478")$(lab_exec reflector ss -tnH state all 'sport = :3478 and dport != :*' | grep -v LISTEN)" ""
ok "raw: a stranger gets in" enters
lab_kill keep
is "raw: it ends well" $? 0
lab_stop

# A UDP daemon on the port all the while.
lab_start full-cone-port open
start_reflector
bound()
{
	[ -n "$(lab_exec home ss -lunH 'sport = :5000')" ]
}
arrived()
{
	[ "$(lab_captured stranger | wc -l)" -ge 1 ]
}
for method in rewrite raw; do
	lab_spawn daemon home nc.openbsd -k -u -l -n 0.0.0.0 5000
	wait_for 5 bound || bail "nothing holds the UDP port"
	lab_spawn keep home "$natpunch" probe -k -v -i 1 -u -p 5000 -m "$method" -r "$LAB_REFLECTOR4"
	faults "udp $method" udp 5000
	like "udp $method: the advice is one that goes with -u" "$(cat "$LAB_DIR/keep.err")" \
		'itself; the mapping is kept, not verified \(-V\)$'
	# shellcheck disable=SC2046
	set -- $(tail -n 1 "$LAB_DIR/keep.out")
	lab_capture stranger home eth0 "udp dst port 5000 and src host $LAB_THIRD4"
	echo hello | lab_exec third nc.openbsd -u -q 0 -n "$1" "$2"
	ok "udp $method: a stranger's datagram reaches the port" wait_for 3 arrived
	lab_kill keep
	is "udp $method: it ends well" $? 0
	lab_kill daemon
	lab_nat_address home 203.0.113.2
	lab_nat_flush home
done

# The keeper is there first, and its port still wanted by a daemon: with all that root has, and with
# nothing.
comes_later()
{
	lab_spawn daemon home nc.openbsd -k -u -l -n 0.0.0.0 5000
	ok "$1: the daemon comes later, and gets its port" wait_for 5 bound
	lab_kill daemon
}
unbound()
{
	! bound
}
lab_spawn keep home "$natpunch" probe -k -v -i 1 -u -p 5000 -r "$LAB_REFLECTOR4"
ok "udp, nobody there: a mapping is there" wait_for 10 agrees udp 5000
comes_later "udp, nobody there"
like "udp, nobody there: it takes no port" "$(cat "$LAB_DIR/keep.err")" ' by (rewrite|raw), asking'
lab_kill keep
lab_nat_flush home
lab_spawn keep home setpriv --reuid 65534 --regid 65534 --clear-groups "$natpunch" probe -k -v -i 30 \
	-u -p 5000 -r "$LAB_REFLECTOR4"
ok "udp, no privileges: a mapping is there" wait_for 10 agrees udp 5000
ok "udp, no privileges: the port is let go" wait_for 5 unbound
comes_later "udp, no privileges"
like "udp, no privileges: it had the port" "$(cat "$LAB_DIR/keep.err")" ' by bind, asking'
lab_kill keep

done_testing
