#!/bin/sh
# Method raw: three segments and no kernel's part in them. In front of each
# kind of NAT the printed mapping is the one that the outermost NAT holds, as an
# established connection; tcpdump at both ends shows SYN, SYN-ACK, ACK and
# nothing else; sshd and the machine are as they were. Then what can go wrong: a
# lost packet, a router that takes the option away, missing rights, a kernel
# without MD5 signatures, a real connection on the same pair of addresses. And
# UDP, with and without somebody who holds the port.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nc.openbsd nft conntrack ss tcpdump sshd ssh strace setpriv

natpunch=$lab_top/natpunch
MARK=9 # a closed port of the reflector's, whose RST says that all before it is over

# What must not change at home: sockets, rules, routes.
home_state()
{
	lab_exec home ss -tulnpeH 2>/dev/null | sort
	lab_exec home ss -tanH state connected
	lab_exec home nft list ruleset
	lab_exec home ip route
}

# NAME [COMMAND...]: the reflector, run by a command.
start_reflector()
{
	lab_name_of_reflector=$1
	shift
	lab_spawn "$lab_name_of_reflector" reflector "$@" "$natpunch" reflect -v
	wait_for_line 5 "$LAB_DIR/$lab_name_of_reflector.err" ' ready$' ||
		bail "the reflector does not start"
}

# probe WANTED-EXIT NAME ARG...: line and line.err in LAB_DIR; line also in $line
probe()
{
	probe_want=$1
	probe_name=$2
	shift 2
	# shellcheck disable=SC2086 # a list of words
	lab_exec home ${run_by-} "$natpunch" probe "$@" >"$LAB_DIR/line" 2>"$LAB_DIR/line.err"
	is "$probe_name: exit" $? "$probe_want"
	line=$(cat "$LAB_DIR/line")
	said=$(cat "$LAB_DIR/line.err")
}

captures_begin()
{
	lab_capture at-home home eth0 "tcp port 3478 or tcp port $MARK"
	lab_capture at-reflector reflector eth0 "tcp port 3478 or tcp port $MARK"
}

mark_is_captured()
{
	lab_captured "$1" | grep -q "\.$MARK > .*Flags \[R"
}

# ADDR: ends both captures when all that belongs to the probe has passed.
captures_end()
{
	lab_exec home nc.openbsd -n -w 2 -z "$1" $MARK 2>/dev/null
	wait_for 5 mark_is_captured at-home || diag "no mark at home"
	wait_for 5 mark_is_captured at-reflector || diag "no mark at the reflector"
	lab_kill at-home
	lab_kill at-reflector
}

# CAPTURE: the flags of all segments in their order, as tcpdump names them.
flags()
{
	lab_captured "$1" 'tcp port 3478' | sed 's/.* Flags \[\([^]]*\)\].*/\1/' | tr '\n' ' '
}

# NS ADDR: the state that a router's conntrack has for connections to there.
state_of()
{
	case $2 in
	*:*) state_family=ipv6 ;;
	*) state_family=ipv4 ;;
	esac
	lab_exec "$1" conntrack -L -f $state_family -p tcp -d "$2" --dport 3478 2>/dev/null |
		awk '{ print $4 }'
}

# NAME REFLECTOR: one handshake, looked at from everywhere.
check_handshake()
{
	state=$(home_state)
	captures_begin
	probe 0 "$1" -m raw -r "$2"
	captures_end "$2"
	is "$1: what the NAT holds is printed" "$line" "$(lab_mapping home tcp 22 "$2" 3478)"
	is "$1: segments at home" "$(flags at-home)" "S S. . "
	is "$1: segments at the reflector" "$(flags at-reflector)" "S S. . "
	is "$1: the outermost NAT calls it established" "$(state_of "$(lab_outer_nat home)" "$2")" ESTABLISHED
	is "$1: home is as before" "$(home_state)" "$state"
}

address_of()
{
	eval "echo \$LAB_REFLECTOR$1"
}

try_kind()
{
	LAB_IPV6=$2
	lab_start "$1"
	start_reflector reflect
	ok "$1: the reflector says that it listens for it" grep -q 'raw tcp' "$LAB_DIR/reflect.err"
	for v in 4 6; do
		check_handshake "$1 IPv$v" "$(address_of $v)"
		[ "$v$2" != 6firewall ] || is "$1 IPv6: it is home's own" "$line" "$LAB_HOME6 22"
		check_handshake "$1 IPv$v, again" "$(address_of $v)"
		case $1 in
		full-cone*)
			# shellcheck disable=SC2086 # address and port
			is "$1 IPv$v: a stranger gets in" "$(lab_ssh third $line echo in)" in
			;;
		esac
		check_udp "$1 IPv$v" "$(address_of $v)"
	done
	lab_kill reflect
	is "$1: the reflector ends cleanly" $? 0
	lab_stop
}

udp_holder()
{
	lab_exec home ss -ulnpeH 'sport = :4000' 2>/dev/null
}

# NAME REFLECTOR
check_udp()
{
	lab_spawn holder home "$LAB_BIN/peer" serve "$LAB_HOME4,4000" "$LAB_HOME6,4000"
	wait_for_line 5 "$LAB_DIR/holder.out" '^ready$' || bail "the holder of the port does not start"
	holder=$(udp_holder)
	probe 0 "$1 UDP" -u -p 4000 -m raw -r "$2"
	is "$1 UDP: what the NAT holds is printed" "$line" "$(lab_mapping home udp 4000 "$2" 3478)"
	is "$1 UDP: the holder is as before" "$(udp_holder)" "$holder"
	lab_kill holder
	lab_capture unreachable home eth0 'icmp or icmp6 or udp port 3478'
	probe 0 "$1 UDP, nobody on the port" -u -p 4001 -m raw -r "$2"
	is "$1 UDP, nobody on the port: what the NAT holds" "$line" \
		"$(lab_mapping home udp 4001 "$2" 3478)"
	ok "$1 UDP, nobody on the port: home's kernel did object" wait_for 2 objected
	lab_kill unreachable
}

objected()
{
	lab_captured unreachable | grep -q 'unreachable'
}

# Drops the first packet only. NAME NFT-MATCH
try_loss()
{
	lab_exec home-router nft -f - <<-END
	table inet loss {
		chain forward {
			type filter hook forward priority -1
			tcp flags & (syn | ack) == $2 numgen inc mod 100000 0 counter drop
		}
	}
	END
	for v in 4 6; do
		lab_exec home-router conntrack -F 2>/dev/null
		captures_begin
		lab_clock
		began=$lab_now
		probe 0 "first $1 lost, IPv$v" -m raw -r "$(address_of $v)"
		lab_clock
		captures_end "$(address_of $v)"
		# The rule drops the very first one of both families together.
		if [ $v = 4 ]; then
			between "first $1 lost: half a second more" $((lab_now - began)) 49 145
			is "first $1 lost: segments at home" "$(flags at-home)" "$3"
			is "first $1 lost: the same SYN again" "$(lab_captured at-home 'tcp[tcpflags] == tcp-syn and port 3478' |
				sed 's/.* seq \([0-9]*\),.*/\1/' | sort | uniq -c | awk '{ print $1 }')" 2
		fi
		is "first $1 lost, IPv$v: established" \
			"$(state_of home-router "$(address_of $v)")" ESTABLISHED
	done
	lab_exec home-router nft delete table inet loss
}

# NAME NFT-MATCH: a router takes the option out of what matches.
strip()
{
	lab_exec home-router nft -f - <<-END
	table inet strip {
		chain forward {
			type filter hook forward priority -1
			$1 reset tcp option md5sig
		}
	}
	END
}

unstrip()
{
	lab_exec home-router nft delete table inet strip
	lab_exec home-router conntrack -F 2>/dev/null
}

try_strip()
{
	strip "$2"
	for v in 4 6; do
		probe 1 "option lost $1, IPv$v" -m raw -r "$(address_of $v)"
		like "option lost $1, IPv$v: said in words" "$said" \
			'no raw answer from .*: the TCP MD5 option was removed on the way'
		like "option lost $1, IPv$v: and what to do" "$said" '^hint: .*another'
		is "option lost $1, IPv$v: nothing printed" "$line" ''
		lab_exec home-router conntrack -F 2>/dev/null
		probe 0 "option lost $1, IPv$v, auto" -r "$(address_of $v)"
		is "option lost $1, IPv$v, auto: the mapping" "$line" \
			"$(lab_mapping home tcp 22 "$(address_of $v)" 3478)"
		lab_exec home-router conntrack -F 2>/dev/null
	done
	unstrip
}

# What is lost on the way to one reflector is not on the way to the next.
try_strip_next()
{
	strip "ip daddr $LAB_REFLECTOR4"
	lab_spawn second second "$natpunch" reflect
	wait_for_line 5 "$LAB_DIR/second.err" ' ready$' || bail "the second reflector does not start"
	probe 0 "option lost to one reflector" -v -m raw -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
	is "option lost to one reflector: the other's answer" "$line" \
		"$(lab_mapping home tcp 22 "$LAB_SECOND4" 3478)"
	like "option lost to one reflector: -v says so" "$said" 'MD5 option was removed'
	lab_kill second
	unstrip
}

with_only()
{
	run_by="setpriv --bounding-set=-all${1:+,+$1} --inh-caps=-all"
}

try_rights()
{
	with_only net_raw
	probe 0 "with CAP_NET_RAW alone" -m raw -r "$LAB_REFLECTOR4"
	is "with CAP_NET_RAW alone: the mapping" "$line" \
		"$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
	probe 0 "with CAP_NET_RAW alone, IPv6" -m raw -r "$LAB_REFLECTOR6"
	probe 0 "with CAP_NET_RAW alone, UDP" -u -p 4001 -m raw -r "$LAB_REFLECTOR4"
	probe 0 "with CAP_NET_RAW alone, auto" -v -r "$LAB_REFLECTOR4" -f '%m'
	is "with CAP_NET_RAW alone, auto: by raw" "$line" raw
	like "with CAP_NET_RAW alone, auto: bind passed over" "$said" 'method bind passed over: '
	like "with CAP_NET_RAW alone, auto: repair passed over" "$said" 'method repair passed over: '
	strip ''
	probe 1 "with CAP_NET_RAW alone, auto, option lost" -r "$LAB_REFLECTOR4"
	like "with CAP_NET_RAW alone, auto, option lost: said" "$said" 'MD5 option was removed'
	unstrip
	with_only ''
	for v in 4 6; do
		probe 3 "without rights, IPv$v" -m raw -r "$(address_of $v)"
		like "without rights, IPv$v: why" "$said" 'cannot open a raw socket: Operation not permitted'
		like "without rights, IPv$v: what to do" "$said" '^hint: .*cap_net_raw'
	done
	probe 3 "without rights, UDP" -u -p 4001 -m raw -r "$LAB_REFLECTOR4"
	run_by=
}

# The third setsockopt(2) of such a run is the question for MD5 signatures. Not strict, as strace
# fails a call by making another one, of a number that there is not.
try_kernel_without()
{
	run_by="env NATPUNCH_SANDBOX= strace -f -o $LAB_DIR/strace -e trace=setsockopt -e inject=setsockopt:error=ENOPROTOOPT:when=3"
	probe 3 "a kernel without MD5" -m raw -r "$LAB_REFLECTOR4"
	run_by=
	ok "a kernel without MD5: that was the question" \
		grep -q 'TCP_MD5SIG.*ENOPROTOOPT.*INJECTED' "$LAB_DIR/strace"
	like "a kernel without MD5: said in words" "$said" 'CONFIG_TCP_MD5SIG'
}

listening()
{
	[ -n "$(lab_exec reflector ss -ltnH 'sport = :3479')" ]
}

connected()
{
	[ -n "$(lab_exec home ss -tnH state established "sport = :222$v")" ]
}

try_connected()
{
	for v in 4 6; do
		lab_spawn silent reflector nc.openbsd -$v -n -d -l 3479
		wait_for 5 listening || bail "nc does not listen"
		lab_spawn real home nc.openbsd -n -d -p 222$v "$(address_of $v)" 3479
		wait_for 5 connected || bail "no connection: $(cat "$LAB_DIR/real.err")"
		lab_capture quiet home eth0 'tcp port 3479'
		to="[$LAB_REFLECTOR6]:3479"
		[ $v = 6 ] || to=$LAB_REFLECTOR4:3479
		probe 3 "beside a real connection, IPv$v" -m raw -t 0.3 -p 222$v -r "$to"
		like "beside a real connection, IPv$v: said" "$said" \
			"port 222$v already has a connection"
		is "beside a real connection, IPv$v: nothing was sent" "$(lab_captured quiet)" ''
		ok "beside a real connection, IPv$v: it lives" connected
		lab_kill quiet
		lab_kill real
		lab_kill silent
	done
}

# Without the right, the reflector serves all else and says what is missing.
try_reflector_without()
{
	lab_kill reflect
	start_reflector poor setpriv --bounding-set=-net_raw --inh-caps=-all
	like "a reflector without CAP_NET_RAW: -v says so" "$(cat "$LAB_DIR/poor.err")" \
		'not listening for raw tcp: Operation not permitted'
	probe 1 "a reflector without CAP_NET_RAW" -m raw -t 0.7 -r "$LAB_REFLECTOR4"
	like "a reflector without CAP_NET_RAW: nothing comes" "$said" 'no answer from'
	# Given up with a RST: what is left in the NAT would else make the next SYN invalid when
	# its number is below. Several times, as that is an even chance.
	for round in 1 2 3 4 5 6; do
		probe 1 "given up, round $round" -m raw -t 0.1 -r "$LAB_REFLECTOR4"
		probe 0 "given up, round $round, and then a real connection" -t 1 -r "$LAB_REFLECTOR4"
		lab_exec home-router conntrack -F 2>/dev/null
	done
	lab_kill poor
}

for kind in full-cone full-cone-port port-restricted double; do
	try_kind $kind nat66
done
try_kind port-restricted firewall

lab_start port-restricted
start_reflector reflect
try_loss SYN syn 'S S S. . '
try_loss SYN-ACK '(syn | ack)' 'S S S. . '
try_strip "on the way there" 'oifname "wan"'
try_strip "on the way back" 'iifname "wan"'
try_strip "both ways" ''
try_strip_next
try_rights
try_kernel_without
try_connected
try_reflector_without
lab_stop

done_testing
