#!/bin/sh
# The reflector's own host tracks connections, as every host with a stateful
# packet filter does. What both ends of a connection have forgotten must not
# stay in that table for days: it is of bounded size, and a full one takes the
# host off the network.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/manual.sh
. "$(dirname "$0")/manual.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch

# FAMILY STATE: how many entries for the reflector's port are in that state.
tracked()
{
	lab_exec reflector conntrack -L -f "$1" -p tcp --dport 3478 2>/dev/null | grep -c " $2 " || :
}

is_untracked()
{
	[ "$(tracked ipv4 ESTABLISHED) $(tracked ipv6 ESTABLISHED)" = '0 0' ]
}

many_half_open()
{
	[ "$(tracked ipv4 SYN_RECV)" -gt 500 ]
}

# The home's routers, which the silent close is for.
at_router()
{
	lab_exec home-router conntrack -L -f ipv4 -p tcp --dport 3478 2>/dev/null |
		grep -c ' ESTABLISHED ' || :
}

# PID: how many it has open.
netlink_sockets()
{
	find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n' |
		grep -cxFf - "$LAB_DIR/netlink" || :
}

helper_is_gone()
{
	! kill -0 "$helper" 2>/dev/null
}

lab_start port-restricted open
lab_exec reflector nft -f - <<-END
table inet tracking {
	chain in {
		type filter hook input priority 0
		ct state established accept
	}
}
END

for jobs in 1 2; do
	lab_spawn reflect reflector "$natpunch" reflect -j $jobs
	wait_for_line 5 "$LAB_DIR/reflect.err" 'reflect: ready$' || bail "it does not start"
	for method in repair raw; do
		for address in "$LAB_REFLECTOR4" "$LAB_REFLECTOR6"; do
			like "$jobs: by $method, $address: probed" "$(lab_exec home "$natpunch" \
				probe -q -m $method -p 22 -r "$address")" ' 22$'
			ok "$jobs: by $method, $address: the reflector's host forgets" \
				wait_for 3 is_untracked
		done
		between "$jobs: by $method: and the router does not" "$(at_router)" 1 9
	done
	helper=$(pgrep -P "$LAB_PID")
	awk '{ print $NF }' "/proc/$LAB_PID/net/netlink" >"$LAB_DIR/netlink"
	is "$jobs: the helper has one capability" \
		"$(sed -n 's/^CapEff:.//p' "/proc/$helper/status")" 0000000000001000
	is "$jobs: and a filter" "$(sed -n 's/^Seccomp:.//p' "/proc/$helper/status")" 2
	is "$jobs: the helper has a netlink socket" "$(netlink_sockets "$helper")" 1
	is "$jobs: and besides that its three standard streams" \
		"$(find "/proc/$helper/fd" -mindepth 1 | wc -l)" 4
	is "$jobs: and the reflector has none" "$(netlink_sockets "$LAB_PID")" 0
	[ $jobs = 2 ] && signal=KILL || signal=TERM
	lab_kill reflect "$signal"
	ok "$jobs: the helper ends with it, by SIG$signal" wait_for 3 helper_is_gone
done

# Nobody who does not see the answer can complete a raw handshake.
lab_spawn reflect reflector "$natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" 'reflect: ready$' || bail "it does not start"
lab_exec reflector conntrack -F 2>/dev/null
lab_spawn attack third "$LAB_BIN/attack" blind "$LAB_REFLECTOR4" 3478
wait_for_line 20 "$LAB_DIR/attack.out" ready || bail "no attack"
ok "forged SYNs are answered" wait_for 20 many_half_open
lab_kill attack
is "and none of them is completed by a blind ACK" "$(tracked ipv4 ESTABLISHED)" 0

# The table of natpunch-reflect(1). The connection is held, so that it would be in the table.
manual_display natpunch-reflect.1 notrack >"$LAB_DIR/notrack"
ok "the manual's table is nft's" lab_exec reflector nft -f "$LAB_DIR/notrack"
lab_exec reflector conntrack -F 2>/dev/null
lab_spawn keep home "$natpunch" probe -k -m repair -p 22 -r "$LAB_REFLECTOR4"
ok "a held connection" wait_for_line 10 "$LAB_DIR/keep.out" ' 22$'
is "is not tracked" "$(lab_exec reflector conntrack -L 2>/dev/null | grep -c 'dport=3478')" 0
lab_kill keep
lab_kill reflect
is "the reflector ends cleanly" $? 0
done_testing
