#!/bin/sh
# Method rewrite, and repair and bind (on a free port) beside it: in front of every kind of
# NAT, over TCP, IPv4 and IPv6, the printed mapping is the one that the
# outermost NAT holds; and home is afterwards as it was before, rules, sockets
# and connection tracking, after SIGKILL as well.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss tcpdump sshd ssh

natpunch=$lab_top/natpunch

start_reflector()
{
	lab_spawn reflect reflector "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
}

# What ss says, with the inode of each; of the control groups it says nothing.
home_sockets()
{
	lab_exec home ss -tuanpeH "$@" 2>/dev/null | tr -s ' ' | sort
}

# All that a probe could leave behind: rules, sockets, and flows that
# connection tracking knows.
home_state()
{
	lab_exec home nft list ruleset
	home_sockets
	lab_exec home conntrack -L 2>/dev/null
	lab_exec home conntrack -L -f ipv6 2>/dev/null
}

# ARG...: probes; status, line and errors.
probe()
{
	lab_exec home "$natpunch" probe -v "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	line=$(cat "$LAB_DIR/out")
}

# NAME METHOD PORT FAMILY: the mapping, and nothing left behind.
try_method()
{
	before=$(home_state)
	reflector=$LAB_REFLECTOR4
	[ "$4" = 4 ] || reflector=$LAB_REFLECTOR6
	probe -m "$2" -p "$3" -r "$reflector"
	is "$1: exit 0" "$status" 0
	held=$(lab_mapping home tcp "$3" "$reflector" 3478 || echo "$LAB_HOME6 $3")
	is "$1: the line is what the outermost NAT holds" "$line" "$held"
	is "$1: home is as before" "$(home_state)" "$before"
}

# KIND IPV6: every method twice, as the second follows on what the first left
# in tables here and there.
try_kind()
{
	LAB_IPV6=$2
	lab_start "$1" full-cone
	start_reflector
	for family in 4 6; do
		for again in once again; do
			try_method "$1, IPv$family, bind $again" bind 2222 $family
			try_method "$1, IPv$family, repair $again" repair 22 $family
			try_method "$1, IPv$family, rewrite $again" rewrite 22 $family
		done
	done
	case $1 in
	full-cone*)
		probe -m rewrite -r "$LAB_REFLECTOR4"
		# shellcheck disable=SC2086 # an address and a port
		is "$1: a stranger logs in at the printed address" \
			"$(lab_ssh third $line echo in)" in
		;;
	esac
	lab_stop
	LAB_IPV6=
}

# What the wire sees of it: port 22 and no other, one handshake, no goodbye.
try_wire()
{
	lab_start port-restricted
	start_reflector
	lab_capture wire home eth0 "tcp port 3478"
	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "wire: exit 0" "$status" 0
	wait_for 3 sh -c "[ \$(tcpdump -n -r '$LAB_DIR/wire.pcap' 2>/dev/null | wc -l) -ge 6 ]"
	is "wire: one SYN" "$(lab_captured wire 'tcp[13] & 0x12 = 2' | wc -l)" 1
	is "wire: neither FIN nor RST from anybody" "$(lab_captured wire 'tcp[13] & 5 != 0' | wc -l)" 0
	is "wire: all to and from port 22" "$(lab_captured wire 'not tcp port 22' | wc -l)" 0
	lab_stop
}

# A reflector that is no natpunch: closed in order, and still through the rule.
try_stranger_server()
{
	lab_start port-restricted
	lab_spawn half reflector "$LAB_BIN/liar" garbage 3478
	wait_for_line 5 "$LAB_DIR/half.out" ready || bail "the liar does not start"
	before=$(home_sockets exclude time-wait)
	lab_capture wire home eth0 "tcp port 3478"
	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "no STUN: exit 4" "$status" 4
	is "no STUN: nothing left from another port" "$(lab_captured wire 'not tcp port 22' | wc -l)" 0
	is "no STUN: nor a rule" "$(lab_exec home nft list ruleset)" ""
	is "no STUN: nor an entry" "$(lab_exec home conntrack -L 2>/dev/null)" ""
	is "no STUN: nor a socket" "$(home_sockets exclude time-wait)" "$before"
	lab_stop
}

# shellcheck disable=SC2317 # by wait_for
connected()
{
	[ -n "$(lab_exec home ss -tnH state established 'dport = :3478')" ]
}

# shellcheck disable=SC2317 # by wait_for
reset()
{
	lab_captured killed | tail -n 1 | grep -q 'Flags \[R'
}

# NAME: a probe is killed while it waits; nothing stays, and the very next one
# from the same port to the same address succeeds, by every method.
try_kill()
{
	lab_spawn silent reflector "$LAB_BIN/liar" silent 3478
	wait_for_line 5 "$LAB_DIR/silent.out" ready || bail "the liar does not start"
	rules=$(lab_exec home nft list ruleset)
	sockets=$(home_sockets)
	lab_capture killed home eth0 "tcp port 3478"
	lab_spawn probe home "$natpunch" probe -t 20 -m rewrite -r "$LAB_REFLECTOR4"
	ok "$1: it is connected" wait_for 5 connected
	isnt "$1: with a rule" "$(lab_exec home nft list ruleset)" "$rules"
	like "$1: its table is its own" "$(lab_exec home nft list ruleset)" \
		'table ip natpunch-[0-9]+ \{ # progname natpunch'
	lab_kill probe KILL
	is "$1: it is killed" $? 137
	is "$1: the rules are as before" "$(lab_exec home nft list ruleset)" "$rules"
	is "$1: the sockets are as before" "$(home_sockets)" "$sockets"
	ok "$1: the last packet is a RST" wait_for 5 reset
	is "$1: nothing left from another port" "$(lab_captured killed 'not tcp port 22' | wc -l)" 0
	lab_kill silent
	start_reflector
	for method in rewrite repair rewrite raw rewrite; do
		probe -m $method -r "$LAB_REFLECTOR4"
		is "$1: $method afterwards" "$line" "$LAB_HOME_PUBLIC4 22"
	done
	lab_kill reflect
}

# A firewall at home keeps connection tracking awake, with or without natpunch.
firewall='
table inet own {
	chain in {
		type filter hook input priority filter; policy drop
		iifname lo accept
		ct state established,related accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport 22 accept
	}
}'

try_firewall()
{
	lab_start port-restricted
	lab_exec home nft "$firewall"
	start_reflector
	for method in repair rewrite rewrite raw rewrite repair rewrite; do
		probe -m $method -r "$LAB_REFLECTOR4"
		is "firewall: $method" "$line" "$LAB_HOME_PUBLIC4 22"
	done
	is "firewall: what the last one made is forgotten" "$(lab_exec home conntrack -L 2>/dev/null)" ""
	lab_kill reflect
	try_kill "firewall, killed"

	# The very same pair of addresses is somebody's.
	lab_spawn silent reflector "$LAB_BIN/liar" silent 3478
	wait_for_line 5 "$LAB_DIR/silent.out" ready || bail "the liar does not start"
	lab_spawn other home "$natpunch" probe -t 20 -m repair -r "$LAB_REFLECTOR4"
	wait_for 5 connected
	theirs=$(lab_exec home conntrack -L -o id 2>/dev/null | grep -o 'id=.*')
	probe -t 0.5 -m rewrite -r "$LAB_REFLECTOR4"
	is "busy: exit 3" "$status" 3
	like "busy: in words" "$(cat "$LAB_DIR/err")" \
		"^natpunch probe: port 22 already has a connection to $LAB_REFLECTOR4:3478\$"
	is "busy: the other's entry is still there" \
		"$(lab_exec home conntrack -L -o id 2>/dev/null | grep -o 'id=.*')" "$theirs"
	ok "busy: and its connection" connected
	lab_kill other
	lab_stop
}

# Rules of home's own that decide about the source port as well.
try_other_rules()
{
	lab_start port-restricted
	start_reflector
	lab_exec home nft 'table ip own { chain out {
		type nat hook postrouting priority srcnat
		meta l4proto tcp masquerade to :40000-50000
	}; }'
	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "its own masquerading: rewrite comes first" "$line" "$LAB_HOME_PUBLIC4 22"
	lab_exec home nft delete table ip own

	lab_exec home nft 'table ip own { chain out {
		type nat hook postrouting priority 0
		meta l4proto tcp masquerade to :40000-50000
	}; }'
	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "a rule that comes first: exit 3" "$status" 3
	is "a rule that comes first: no line" "$line" ""
	like "a rule that comes first: in words" "$(cat "$LAB_DIR/err")" "another rule of this machine's firewall decides"
	lab_exec home nft delete table ip own
	lab_exec home conntrack -F 2>/dev/null

	lab_exec home nft 'table inet own { chain out { type filter hook output priority raw; notrack; }; }'
	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "untracked: exit 3" "$status" 3
	is "untracked: no line" "$line" ""
	lab_exec home nft delete table inet own

	probe -m rewrite -r "$LAB_REFLECTOR4"
	is "none of them: exit 0 again" "$status" 0
	lab_stop
}

# Home forwards for a container that has a connection of its own in the way.
try_forwarded()
{
	lab_start port-restricted
	start_reflector
	lab_exec home nft "$firewall"
	lab_exec home conntrack -I -p tcp -t 600 --state ESTABLISHED -u SEEN_REPLY,ASSURED \
		-s 172.17.0.2 -d "$LAB_REFLECTOR4" --sport 22 --dport 3478 \
		-r "$LAB_REFLECTOR4" -q "$LAB_HOME4" --reply-port-src 3478 --reply-port-dst 22 \
		>/dev/null 2>&1 || bail "conntrack -I"
	probe -t 0.5 -m rewrite -r "$LAB_REFLECTOR4"
	is "somebody else's: exit 3" "$status" 3
	like "somebody else's: in words" "$(cat "$LAB_DIR/err")" "already has a connection"
	like "somebody else's: it is left alone" "$(lab_exec home conntrack -L 2>/dev/null)" 'src=172\.17\.0\.2 '
	lab_stop
}

for kind in full-cone full-cone-port port-restricted double; do
	try_kind $kind nat66
done
try_kind port-restricted firewall
try_wire
try_stranger_server
lab_start full-cone
try_kill killed
lab_stop
try_firewall
try_other_rules
try_forwarded
done_testing
