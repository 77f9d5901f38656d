#!/bin/sh
# probe -k -F: the home router's forward is asked for, again when the router has started anew, and given
# back at the end; also for a port of our own that leads to sshd, where low ones are refused. Where the
# port that is forwarded is not the one that is seen, what a stranger gets in by is found and kept.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft conntrack miniupnpd

natpunch=$lab_top/natpunch

# ARG...: at home, in the background.
keep()
{
	lab_spawn keep home "$natpunch" probe -k -F -V -v -r "$LAB_REFLECTOR4" "$@"
}

said()
{
	cat "$LAB_DIR/keep.err"
}

lab_start port-restricted
router_start "ext_ip=$router_public"
lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"

keep
ok 'it is verified' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
like 'through the router' "$(said)" 'the router 192\.168\.1\.1 forwards its port 22 to port 22 here, by PCP'
ok 'a stranger logs in' router_lets_in 22

router_stop
nok 'a router that ends forgets it' router_forwards
router_start "ext_ip=$router_public"
# It announces its start to everybody, and is asked at once, or some seconds after the last question.
ok 'it is asked for again' wait_for 30 router_forwards
ok 'and a stranger logs in' wait_for 20 router_lets_in 22

# As somebody does who tries by hand what runs already.
lab_spawn second home "$natpunch" probe -k -F -r "$LAB_REFLECTOR4"
ok 'a second one finds the port in use' \
	wait_for_line 20 "$LAB_DIR/second.err" 'port 22 already has a connection'
lab_kill second
ok "its end does not take back what the first one has" router_forwards

lab_kill keep
is 'it ends: exit 0' "$?" 0
ok 'and the forward is given back' router_forgot
router_stop

# As OpenWrt has it.
router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 1024-65535' 'deny 0-65535 0.0.0.0/0 0-65535'
lab_nat_flush home
keep -p 2222 --to 127.0.0.1:22
ok 'a router that forwards high ports alone' \
	wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2222\$"
ok 'a stranger logs in' router_lets_in 2222
lab_kill keep KILL
ok 'one that is killed leaves it' router_forwards
router_stop

# It grants another port than was asked for.
any_port()
{
	router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 0-65535' \
		'deny 0-65535 0.0.0.0/0 0-65535'
}

# NAME: what is kept is proved, and a stranger logs in.
kept_at()
{
	ok "$1: it is verified" wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 $2\$"
	is "$1: at once" "$(wc -l <"$LAB_DIR/keep.out")" 1
	read -r _ port <"$LAB_DIR/keep.out"
	ok "$1: a stranger logs in" router_lets_in "$port"
	unlike "$1: nobody is told that none does" "$(said)" 'not reachable from elsewhere'
}

# PORT: is a reflector asked from there?
holds_from()
{
	lab_exec home ss -Htn "sport = :$1" 'dport = :3478' | grep -q ESTAB
}

any_port
lab_nat_flush home
keep -i 1
kept_at 'another port' '[0-9]{4,5}'
like 'it is the one of the router' "$(said)" "forwards its port $port to port 22 here"
# Asked from that port, and told of the one of -p: by each answer to a keep-alive, too.
lab_signal keep HUP
ok 'the connection is from there' holds_from "$port"
is 'it stays' "$(wc -l <"$LAB_DIR/keep.out")" 1
lab_kill keep
is 'it ends: exit 0' "$?" 0
ok 'and the forward is given back' router_forgot
lab_nat_flush home
lab_spawn keep home "$natpunch" probe -k -F -r "$LAB_REFLECTOR4"
ok 'without -V what is seen is kept' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
ok 'and it is said that it is not proved' wait_for_line 20 "$LAB_DIR/keep.err" \
	'warning: not proved that port 22 of .* lets strangers in: the router forwards its port [0-9]+; -V'
lab_kill keep
router_stop

# Nobody there: kept all the same, not reachable.
lab_nat_flush home
lab_spawn keep home "$natpunch" probe -k -F -r "$LAB_REFLECTOR4"
ok 'no router: the mapping is kept' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
like 'it is told' "$(said)" 'the router 192\.168\.1\.1 cannot be asked to forward: Connection refused'
lab_kill keep

# The router gets another outer address.
router_start "ext_ip=$router_public"
lab_nat_flush home
keep -i 6
ok 'before the router has another address' \
	wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
before=$LAB_HOME_PUBLIC4
questions=$(grep -c 'the router says the same' "$LAB_DIR/keep.err")
lab_nat_address home 203.0.113.20
ok 'within three intervals that is told' \
	wait_for_line 18 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
ok 'a stranger logs in' router_lets_in 22
asked_anew()
{
	[ "$(grep -c 'the router says the same' "$LAB_DIR/keep.err")" -gt "$questions" ]
}
ok 'and the router was asked anew' wait_for 20 asked_anew
lab_kill keep
ok 'the forward is given back' router_forgot
router_stop
lab_nat_address home "$before"

# NUMBER: so often it was asked.
asked_times()
{
	[ "$(lab_captured asked 'udp dst port 5351' | grep -c 'UDP, length 60')" -ge "$1" ]
}

lab_nat_flush home
lab_capture asked home eth0 'udp port 5351'
keep
ok 'with -V nobody gets in' wait_for_line 20 "$LAB_DIR/keep.err" 'not reachable from elsewhere'
ok 'so the router is asked again' wait_for 20 asked_times 2
lab_kill keep
lab_stop

# It forwards port 22, and sends from another.
looked_up()
{
	[ "$(lab_exec third "$natpunch" lookup -q -r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home)" = \
		"$LAB_HOME_PUBLIC4 22" ]
}

lab_start symmetric
router_start "ext_ip=$router_public"
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/home.key") || bail 'no key'
lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4" -K "$LAB_DIR/home.key"
keep -n home -K "$LAB_DIR/home.key"
kept_at 'a router that changes ports' 22
ok 'a look-up leads there as well' wait_for 10 looked_up
lab_kill keep
router_stop
lab_stop

# Two NATs, and another port in each.
lab_start port-restricted+full-cone-port
any_port
lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"
keep
kept_at 'two NATs' '[0-9]{4,5}'
lab_kill keep
lab_stop
done_testing
