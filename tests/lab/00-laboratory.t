#!/bin/sh
#
# Is the laboratory what it says it is? Each kind of NAT is asked by packets,
# TCP and UDP, IPv4 and IPv6, at home and at the laptop, with nothing of the
# program under test in it:
#
#   mapping     from one port to two addresses and two ports of the reflector:
#               which public address and port does it see?
#   filtering   may a stranger come in by that public port, may the reflector
#               from another port, may it from the same port; and what does
#               who may not come get, silence or RST?
#
# Then the line, what changes at run time, and that nothing is left behind.
#
#     00-laboratory.t              everything, several laboratories at a time
#     00-laboratory.t CASE [ARG...]  one case, results without a plan
# shellcheck disable=SC2154 # variables set by lab.sh and by eval

set -u
cd "$(dirname -- "$0")/../.." || exit 1
LAB_TOP=$(pwd)
LAB_BIN=${LAB_BIN:-$LAB_TOP/build/lab}
. tests/lab/tap.sh
. tests/lab/lab.sh

PEER=$LAB_BIN/peer
PORT=4000
RTT_PORT=4002
YES_MS=4000 # an answer that must come comes within that
NO_MS=200   # none has come within that

# ------------------------------------------------------------------ helpers

# NS PROTO LOCAL-ADDR LOCAL-PORT ADDR PORT MILLISECONDS -> what came of it
ask()
{
	ask_ns=$1
	shift
	lab_exec "$ask_ns" "$PEER" ask "$@"
}

# PROTO: what the unsolicited gets here
silence()
{
	if [ "$1" = tcp ]; then
		echo "$tcp_no"
	else
		echo timeout
	fi
}

# NAME MAY-COME-IN NS PROTO LOCAL-ADDR LOCAL-PORT ADDR PORT
# One who may come in is told its own address.
expect()
{
	if [ "$2" = yes ]; then
		is "$1: comes in" "$(ask "$3" "$4" "$5" "$6" "$7" "$8" $YES_MS)" "$5 $6"
	else
		is "$1: $(silence "$4")" "$(ask "$3" "$4" "$5" "$6" "$7" "$8" $NO_MS)" \
			"$(silence "$4")"
	fi
}

# What the kinds are to be. Written down here once more, and not taken from
# lab.sh, so that a mistake there does not become the measure.
traits()
{
	mapping=same port=kept stranger=no other_port=no tcp_no=timeout
	case $1 in
	open) stranger=yes other_port=yes ;;
	full-cone) stranger=yes other_port=yes ;;
	full-cone-port) port=changed stranger=yes other_port=yes ;;
	full-cone+full-cone-port) port=changed stranger=yes other_port=yes ;;
	address-restricted) other_port=yes ;;
	port-restricted) ;;
	port-restricted-port) port=changed ;;
	port-restricted-rst) tcp_no=refused ;;
	symmetric) mapping=differs port=changed ;;
	symmetric-step) mapping=steps port=changed ;;
	double) port=changed ;;
	*) bail "no such kind: $1" ;;
	esac
}

# SIDE V: own address, public address
addresses()
{
	case $1 in
	home) eval "own=\$LAB_HOME$2 public=\$LAB_HOME_PUBLIC$2" ;;
	laptop) eval "own=\$LAB_LAPTOP$2 public=\$LAB_LAPTOP_PUBLIC$2" ;;
	esac
	eval "A=\$LAB_REFLECTOR$2 B=\$LAB_REFLECTOR_B$2 third=\$LAB_THIRD$2"
}

start_peers()
{
	lab_spawn at-reflector reflector "$PEER" serve \
		"$LAB_REFLECTOR4,3478" "$LAB_REFLECTOR4,3479" "$LAB_REFLECTOR_B4,3478" \
		"$LAB_REFLECTOR6,3478" "$LAB_REFLECTOR6,3479" "$LAB_REFLECTOR_B6,3478"
	lab_spawn at-home home "$PEER" serve "$LAB_HOME4,$PORT" "$LAB_HOME6,$PORT"
	lab_spawn at-laptop laptop "$PEER" serve "$LAB_LAPTOP4,$PORT" "$LAB_LAPTOP6,$PORT"
	for name in at-reflector at-home at-laptop; do
		wait_for_line 5 "$LAB_DIR/$name.out" '^ready$' ||
			bail "$name: $(cat "$LAB_DIR/$name.err")"
	done
	# A SYN to port 3999 of the reflector is counted and not answered.
	lab_exec reflector nft -f - <<-END
	table inet test {
		chain input {
			type filter hook input priority filter
			tcp dport 3999 tcp flags & (syn | ack) == syn counter drop
		}
	}
	END
}

dropped_syns()
{
	lab_exec reflector nft list table inet test | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p'
}

more_dropped_syns_than()
{
	[ "$(dropped_syns)" -gt "$1" ]
}

# -------------------------------------------------- mapping and filtering

# SIDE V PROTO; sets mapped, the public port
check_mapping()
{
	t="$side_name $3"
	seen_a=$(ask "$1" "$3" "$own" $PORT "$A" 3478 $YES_MS)
	seen_port=$(ask "$1" "$3" "$own" $PORT "$A" 3479 $YES_MS)
	seen_b=$(ask "$1" "$3" "$own" $PORT "$B" 3478 $YES_MS)
	mapped=${seen_a#* }
	is "$t: public address" "${seen_a% *}" "$public"
	is "$t: what conntrack holds is what the reflector sees" \
		"$(lab_mapping "$1" "$3" $PORT "$A" 3478)" "$seen_a"
	if [ $port = kept ]; then
		is "$t: port kept" "$mapped" $PORT
	else
		isnt "$t: port changed" "$mapped" $PORT
	fi
	case $mapping in
	same)
		is "$t: same mapping for another port" "$seen_port" "$seen_a"
		is "$t: same mapping for another address" "$seen_b" "$seen_a"
		;;
	differs)
		isnt "$t: another mapping for another port" "$seen_port" "$seen_a"
		isnt "$t: another mapping for another address" "$seen_b" "$seen_a"
		isnt "$t: and all three differ" "$seen_b" "$seen_port"
		;;
	steps)
		is "$t: next port for another port" "$seen_port" "$public $((mapped + 1))"
		is "$t: next port for another address" "$seen_b" "$public $((mapped + 2))"
		;;
	esac
}

# SIDE V PROTO
check_filtering()
{
	t="$side_name $3"
	expect "$t: a stranger" $stranger third "$3" "$third" 6000 "$public" "$mapped"
	expect "$t: same address, other port" $other_port \
		reflector "$3" "$A" 6000 "$public" "$mapped"
}

# SIDE V: both ends connect from the ports that each other connects to. Our
# SYN is dropped when it has passed the NAT, so that no answer but the other
# end's own SYN can have come back in.
check_same_endpoint()
{
	t="$side_name tcp"
	dropped=$(dropped_syns)
	lab_spawn opener "$1" "$PEER" syn "$own" $PORT "$A" 3999 $YES_MS
	wait_for 2 more_dropped_syns_than "$dropped" || diag "no SYN reaches the reflector"
	to=$(lab_mapping "$1" tcp $PORT "$A" 3999)
	is "$t: same address and port: comes in" \
		"$(lab_exec reflector "$PEER" syn "$A" 3999 "${to% *}" "${to#* }" $YES_MS)" connected
	wait_for_line 2 "$LAB_DIR/opener.out" .
	is "$t: simultaneous open" "$(cat "$LAB_DIR/opener.out")" connected
	lab_kill opener
}

# SIDE V: what was reachable is not when the NAT has forgotten, until the next
# packet out: it is the packet that makes the mapping, not a rule.
check_forgetting()
{
	t="$side_name udp"
	lab_nat_flush "$1"
	expect "$t: a stranger, NAT flushed" no third udp "$third" 6001 "$public" "$mapped"
	ask "$1" udp "$own" $PORT "$A" 3478 $YES_MS >/dev/null
	expect "$t: a stranger, after a packet out" yes third udp "$third" 6002 "$public" "$mapped"
}

# SIDE V
check_side()
{
	addresses "$1" "$2"
	side_name="$KIND $1 IPv$2"
	[ "$2" = 4 ] || side_name="$side_name $mode6"

	case $KIND in
	open) before=yes ;;
	*) before=no ;;
	esac
	[ "$2$mode6" != 6none ] || before=yes
	expect "$side_name tcp: a stranger, before any packet out" $before \
		third tcp "$third" 5999 "$public" $PORT
	expect "$side_name udp: a stranger, before any packet out" $before \
		third udp "$third" 5999 "$public" $PORT
	for proto in tcp udp; do
		check_mapping "$1" "$2" $proto
		check_filtering "$1" "$2" $proto
	done
	check_same_endpoint "$1" "$2"
	[ $stranger$before = yesyes ] || [ $stranger = no ] || check_forgetting "$1" "$2"
}

# V: sshd by its public address. Its port is borrowed for one question, while
# it listens.
check_sshd()
{
	addresses home "$1"
	t="$KIND IPv$1 sshd"
	want=$tcp_no
	[ $before = no ] || want=connected
	is "$t: before any packet out: $want" \
		"$(lab_exec third "$PEER" syn "$third" 0 "$public" 22 $NO_MS)" "$want"
	seen=$(ask home tcp "$own" 22 "$A" 3478 $YES_MS)
	is "$t: conntrack holds its mapping" "$(lab_mapping home tcp 22 "$A" 3478)" "$seen"
	if [ $stranger = yes ]; then
		is "$t: ssh logs in from the third host" \
			"$(lab_ssh third "$public" "${seen#* }" echo in)" in
		like "$t: and sees it come from there" "$(cat "$LAB_SSHD_LOG")" \
			"Accepted publickey for root from $third port"
		like "$t: banner" "$(lab_banner third "$public" "${seen#* }")" '^SSH-2\.0-'
	else
		is "$t: the NAT lets no stranger in" \
			"$(lab_exec third "$PEER" syn "$third" 0 "$public" "${seen#* }" $NO_MS)" "$tcp_no"
	fi
	is "$t: ssh logs in from within" "$(lab_ssh home "$own" 22 echo in)" in
}

# KIND IPV6-MODE FAMILIES
# The router there is the same script with other names: LABORATORY=all looks at each kind.
is_wanted_at_laptop()
{
	case ${LABORATORY-}$KIND in
	all* | symmetric | port-restricted-rst | full-cone | double) ;;
	*) false ;;
	esac
}

case_kind()
{
	KIND=$1
	mode6=$2
	LAB_IPV6=$2
	LAB_LAPTOP_IPV6=$2
	lab_start "$KIND" "$KIND"
	start_peers
	for v in $3; do
		traits "$KIND"
		# Without translation only the filter is left.
		case $v$mode6 in
		6none) traits open ;;
		6firewall) [ "$KIND" = port-restricted-rst ] || traits port-restricted ;;
		esac
		check_side home "$v"
		[ "$v$3" != '44 6' ] || ! is_wanted_at_laptop || check_side laptop 4
		check_sshd "$v"
	done
	lab_stop
}

# ------------------------------------------------- the line, and run time

# SIDE ADDR ENOUGH -> the shortest round trip so far, when it is short enough or
# 50 have been made: a line sets a lower bound, a busy machine adds to it. Always
# from one port: a NAT whose public port is a hash of the private one drops what
# two of many ports have in common.
rtt()
{
	best=
	for _ in $(seq 50); do
		got=$(lab_exec "$1" "$PEER" rtt $RTT_PORT "$2" 3478 2000) || continue
		best=$(printf '%s\n' "$got" "${best:-$got}" | sort -n | head -n 1)
		[ "${best%.*}" -ge "$3" ] || break
	done
	echo "$best"
}

# SIDE N MILLISECONDS -> how many of N questions got an answer in that time
answered()
{
	n=0
	for _ in $(seq "$2"); do
		lab_exec "$1" "$PEER" rtt $RTT_PORT "$LAB_REFLECTOR4" 3478 "$3" >/dev/null && n=$((n + 1))
	done
	echo $n
}

case_line()
{
	LAB_DELAY=20 LAB_LAPTOP_DELAY=5 LAB_IPV6=nat66
	lab_start "$1" full-cone
	start_peers
	between "line $1: 20 ms each way, IPv4" "$(rtt home "$LAB_REFLECTOR4" 45)" 40 45
	between "line $1: 20 ms each way, IPv6" "$(rtt home "$LAB_REFLECTOR6" 45)" 40 45
	between "line $1: 5 ms each way at the laptop" "$(rtt laptop "$LAB_REFLECTOR4" 15)" 10 15
	ok "line $1: changed" lab_line home 20 100
	is "line $1: 100 % loss loses all" "$(ask home udp "$LAB_HOME4" 0 "$LAB_REFLECTOR4" 3478 300)" timeout
	lab_capture lost home eth0 'udp port 3478'
	ok "line $1: loss on the way in only" lab_line home 0 0 100
	before=$(grep -c . "$LAB_DIR/at-reflector.out")
	is "line $1: then no answer comes" "$(ask home udp "$LAB_HOME4" 0 "$LAB_REFLECTOR4" 3478 200)" timeout
	is "line $1: but the question arrived" "$(grep -c . "$LAB_DIR/at-reflector.out")" $((before + 1))
	is "line $1: tcpdump saw only the question" "$(lab_captured lost | grep -c .)" 1
	lab_line home 0 50
	between "line $1: 50 % each way leaves a quarter" "$(answered home 60 50)" 4 30
	ok "line $1: and back" lab_line home 0 0
	between "line $1: no delay" "$(rtt home "$LAB_REFLECTOR4" 5)" 0 5
	is "line $1: no loss" "$(answered home 20 $YES_MS)" 20
	lab_stop
}

# LOCAL-PORT ERE: does home's router hold a mapping of that port, with so much
# of its time left?
mapping_left()
{
	lab_exec home-router nft list map ip lab mapped_ports | grep -q -E "expires $2 : $1( |,|\$)"
}

mapping_gone()
{
	! lab_exec home-router nft list map ip lab mapped_ports | grep -Eq " : $1( |,|\$)"
}

listens()
{
	[ -n "$(lab_exec "$1" ss -Hltn "sport = $2")" ]
}

case_changes()
{
	LAB_NAT_ESTABLISHED=600 LAB_NAT_TRANSITORY=2
	lab_start full-cone
	start_peers
	addresses home 4
	first=$(ask home tcp "$own" $PORT "$A" 3478 $YES_MS)
	lab_spawn accepts reflector nc.openbsd -lk "$A" 3480
	wait_for 5 listens reflector 3480
	lab_spawn held home nc.openbsd -p 4001 "$A" 3480
	ok "changes: one that stands, the long time" wait_for 3 mapping_left 4001 "[0-9]+m[0-9ms]+"
	lab_kill held
	ok "changes: and the short time once it is closed" wait_for 3 mapping_left 4001 "([01]s)?([0-9]+ms)?"
	ok "changes: after which it is gone" wait_for 5 mapping_gone 4001
	lab_nat_address home 203.0.113.7
	second=$(ask home udp "$own" $PORT "$A" 3478 $YES_MS)
	is "changes: another public address" "$second" "203.0.113.7 ${first#* }"
	is "changes: LAB_HOME_PUBLIC4" "$LAB_HOME_PUBLIC4" 203.0.113.7
	is "changes: the new address lets a stranger in" \
		"$(ask third udp "$LAB_THIRD4" 6000 203.0.113.7 "${first#* }" $YES_MS)" "$LAB_THIRD4 6000"
	lab_cut home
	isnt "changes: link down" "$(ask home udp "$own" $PORT "$A" 3478 $NO_MS)" "$second"
	lab_mend home
	is "changes: link up again" "$(ask home udp "$own" $PORT "$A" 3478 $YES_MS)" "$second"
	is "changes: IPv6 too" "$(ask home udp "$LAB_HOME6" $PORT "$LAB_REFLECTOR6" 3478 $YES_MS)" \
		"$LAB_HOME6 $PORT"
	is "changes: sshd's pid" "$(lab_exec home ss -Hltnp 'sport = 22' | grep -c "pid=$LAB_SSHD_PID,")" 2
	lab_sshd_stop
	is "changes: sshd stopped" "$(lab_exec home ss -Hltn 'sport = 22')" ""
	lab_sshd_start
	is "changes: sshd started again" "$(lab_ssh home "$own" 22 echo in)" in
	ok "changes: what runs is alive" lab_alive at-home
	lab_kill at-home
	is "changes: exit status of what was killed" $? 143
	nok "changes: what was killed is not alive" lab_alive at-home
	lab_stop
}

# A packet with a private source address must not get through the internet.
case_private()
{
	lab_start full-cone
	lab_capture leaked reflector eth0 'src net 192.168.0.0/16'
	lab_exec home-router nft flush ruleset
	start_peers
	is "private: nobody answers an untranslated source" \
		"$(ask home udp "$LAB_HOME4" 0 "$LAB_REFLECTOR4" 3478 $NO_MS)" timeout
	is "private: nor does it arrive" "$(lab_captured leaked)" ""
	lab_stop
}

# ------------------------------------------------------------------ the end

# One laboratory full of processes, that waits to be ended in the way of $1.
case_victim()
{
	LAB_DELAY=1
	lab_start double
	start_peers
	lab_exec home sh -c 'tail -f /dev/null & tail -f /dev/null &'
	lab_spawn session laptop tail -f /dev/null
	lab_spawn login home ssh -F none -i "$LAB_DIR/user_key" -o StrictHostKeyChecking=no \
		-o UserKnownHostsFile=/dev/null "root@$LAB_HOME4" tail -f /dev/null
	wait_for_line 5 "$LAB_SSHD_LOG" 'Starting session'
	# shellcheck disable=SC2046 # one line for all
	echo "up $LAB $LAB_DIR" $(lab_pids)
	case $1 in
	end) exit 0 ;;
	fault) exit 7 ;;
	esac
	# Not as a command in the foreground: a signal that comes just before the
	# shell starts one is only seen when that has ended.
	lab_spawn last home tail -f /dev/null
	wait "$LAB_PID"
}

any_alive()
{
	for p in "$@"; do
		[ ! -d "/proc/$p" ] || return 0
	done
	return 1
}

none_alive()
{
	! any_alive "$@"
}

# HOW STATUS: in a process group and with the signals of a terminal
case_cleanup()
{
	out=$(mktemp)
	setsid env --default-signal=INT,TERM sh "$LAB_TOP/tests/lab/00-laboratory.t" victim "$1" \
		>"$out" 2>&1 &
	victim=$!
	trap 'kill -TERM "-$victim"; exit 143' TERM
	wait_for_line 60 "$out" '^up ' || diag "$(cat "$out")"
	read -r up lab dir pids <"$out"
	case $1 in
	INT) kill -INT "-$victim" ;;
	TERM) kill -TERM "-$victim" ;;
	esac
	wait $victim
	is "cleanup $1: exit status" $? "$2"
	like "cleanup $1: it was up, with processes" "$up $pids" '^up [0-9]+ [0-9]+ [0-9]+ [0-9]+'
	# shellcheck disable=SC2086 # a list of pids
	ok "cleanup $1: no process left" wait_for 2 none_alive $pids
	unlike "cleanup $1: no namespace left" "$(ls /run/netns)" "^$lab-"
	nok "cleanup $1: no directory left" test -e "$dir"
	rm -f "$out"
}

# ------------------------------------------------------------- all of them

# Each case on a line. Those that wait most come first.
# Kinds that are put together of what others are, with IPv6 only where all is looked at.
cases()
{
	[ "${LABORATORY-}" = all ] && translated='nat66 4 6' || translated='none 4'
	cat <<-END
	line port-restricted
	kind symmetric nat66 4 6
	kind symmetric-step $translated
	kind port-restricted nat66 4 6
	kind double nat66 4 6
	kind address-restricted $translated
	kind port-restricted-port $translated
	kind port-restricted-rst nat66 4 6
	kind full-cone nat66 4 6
	kind full-cone-port $translated
	kind full-cone+full-cone-port $translated
	kind open none 4 6
	kind port-restricted firewall 6
	kind port-restricted-rst firewall 6
	kind double firewall 6
	kind full-cone none 6
	line double
	changes
	private
	cleanup end 0
	cleanup fault 7
	cleanup INT 130
	cleanup TERM 143
	END
}

build_tools()
{
	mkdir -p "$LAB_BIN"
	for tool in peer delayline; do
		[ -n "$(find "$LAB_BIN/$tool" -newer "tests/lab/$tool.c" 2>/dev/null)" ] ||
			cc -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -o "$LAB_BIN/$tool" \
				"tests/lab/$tool.c" || bail "cannot build $tool"
	done
}

# Runs the lines N, N+WORKERS, ... of the list. Ends what it runs when it is
# ended itself: ^C does not reach what a script runs in the background.
worker()
{
	n=0
	child=
	trap - EXIT
	trap '[ -z "$child" ] || kill $child; wait; exit 143' TERM
	while read -r words; do
		n=$((n + 1))
		[ $((n % WORKERS)) -eq $(($1 % WORKERS)) ] || continue
		# shellcheck disable=SC2086 # words of a case
		sh "$LAB_TOP/tests/lab/00-laboratory.t" $words </dev/null \
			>"$results/$n.out" 2>"$results/$n.err" &
		child=$!
		wait $child
		child=
	done <"$results/list"
}

stop_workers()
{
	trap '' INT TERM
	# shellcheck disable=SC2086 # a list of pids
	kill $workers 2>/dev/null
	wait
}

all()
{
	need ip nft conntrack ss tc tcpdump ssh ssh-keygen nc.openbsd
	[ -x /usr/sbin/sshd ] || bail "not installed: sshd"
	build_tools
	WORKERS=6
	results=$(mktemp -d)
	workers=
	trap 'rm -rf "$results"' EXIT
	trap 'stop_workers; exit 130' INT
	trap 'stop_workers; exit 143' TERM
	cases >"$results/list"
	for w in $(seq $WORKERS); do
		worker "$w" &
		workers="$workers $!"
	done
	wait
	n=0
	while read -r words; do
		n=$((n + 1))
		sed '$d' "$results/$n.out"
		cat "$results/$n.err" >&2
		if tail -n 1 "$results/$n.out" | grep -q '^done$'; then
			pass "case $words: ran to its end"
		else
			tail -n 1 "$results/$n.out"
			fail "case $words: ran to its end"
		fi
	done <"$results/list"
	echo "1..$(($(cat "$results"/*.out | grep -Ec '^(not )?ok ') + n))"
	! grep -q '^not ok ' "$results"/*.out && [ "$tap_failed" -eq 0 ]
}

if [ $# -eq 0 ]; then
	all
	exit
fi
what=$1
shift
case $what in
kind)
	kind=$1 mode=$2
	shift 2
	case_kind "$kind" "$mode" "$*"
	;;
line | changes | private | victim | cleanup) "case_$what" "$@" ;;
*) bail "no such case: $what" ;;
esac
echo "done"
