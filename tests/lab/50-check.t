#!/bin/sh
# check: names mapping and filtering of every kind of NAT, over TCP and UDP, with one reflector of
# one address, one of two, and two reflectors, or says that it cannot be told; and ssh from a
# stranger then does what the verdict says. A local firewall and a port where nobody listens are
# told from a strict NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack tcpdump sshd setpriv turnserver nc.openbsd perl

natpunch=$lab_top/natpunch
ei='"endpoint-independent"'
ad='"address-dependent"'
apd='"address-and-port-dependent"'
all_json=$(mktemp)
dependent='"address-dependent or address-and-port-dependent"'
not_by_port='"endpoint-independent or address-dependent"'

# NAME NS ARG...: the reflector of that name.
start_reflector()
{
	name=$1
	shift
	lab_spawn "$name" "$@"
	wait_for_line 5 "$LAB_DIR/$name.err" ready || bail "$name does not start"
}

# FILE NAME: a field of the JSON.
field()
{
	sed -n 's/.*[{,]"'"$2"'":\("[^"]*"\|[a-z0-9]*\).*/\1/p' "$1"
}

# What is there as JSON is kept for try_json, which looks at all of it at once.
keep_json()
{
	cat "$LAB_DIR/tcp.out" "$LAB_DIR/udp.out" >>"$all_json" 2>/dev/null
}

# Both protocols at once: $LAB_DIR/tcp.out and udp.out, $tcp_status and $udp_status.
check_both()
{
	lab_spawn tcp home "$natpunch" check -f json "$@"
	lab_spawn udp home "$natpunch" check -f json -u -p 5022 "$@"
	for protocol in tcp udp; do
		read -r check_pid <"$LAB_DIR/$protocol.pid"
		wait "$check_pid"
		status=$?
		[ "$protocol" = tcp ] && tcp_status=$status || udp_status=$status
		rm -f "$LAB_DIR/$protocol.pid"
	done
	keep_json
}

# NAME PROTOCOL MAPPING FILTERING DIRECT
judge()
{
	out=$LAB_DIR/$2.out
	[ -s "$out" ] || diag "$(cat "$LAB_DIR/$2.err")"
	is "$1, $2: mapping" "$(field "$out" mapping)" "$3"
	is "$1, $2: filtering" "$(field "$out" filtering)" "$4"
	is "$1, $2: verdict" "$(field "$out" direct)" "$5"
	status=$tcp_status
	[ "$2" = tcp ] || status=$udp_status
	if [ "$5" = true ]; then
		is "$1, $2: exit 0" "$status" 0
	else
		is "$1, $2: exit 5" "$status" 5
	fi
}

# NAME DIRECT: does ssh from a stranger do what the verdict over TCP says?
judge_ssh()
{
	ip=$(field "$LAB_DIR/tcp.out" public_addr | tr -d '"')
	port=$(field "$LAB_DIR/tcp.out" public_port)
	like "$1: the mapping is the NAT's" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4")" \
		"^$ip $port\$"
	case $2 in
	true) ok "$1: ssh from a stranger gets in" lab_ssh third "$ip" "$port" true ;;
	false) nok "$1: ssh from a stranger does not" lab_ssh third "$ip" "$port" true 2>/dev/null ;;
	esac
}

# KIND MAPPING FILTERING
try_kind()
{
	kind=$1
	mapping=$2
	filtering=$3
	one_mapping=null
	some_mapping=$mapping
	one_filtering=$not_by_port
	direct=false
	one_direct=null
	case $kind in
	open) one_mapping='"none"' ;;
	symmetric*) some_mapping=$dependent ;;
	esac
	[ "$filtering" != "$ei" ] || direct=true
	[ "$filtering" != "$apd" ] || one_filtering=$apd one_direct=false

	lab_start "$kind" open
	start_reflector one reflector "$natpunch" reflect
	start_reflector second second "$natpunch" reflect
	check_both -r "$LAB_REFLECTOR4"
	judge "$kind, one address" tcp "$one_mapping" "$one_filtering" "$one_direct"
	judge "$kind, one address" udp "$one_mapping" null null
	judge_ssh "$kind, one address" "$one_direct"
	lab_nat_flush home

	check_both -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
	judge "$kind, two reflectors" tcp "$some_mapping" "$filtering" "$direct"
	judge "$kind, two reflectors" udp "$some_mapping" null null
	judge_ssh "$kind, two reflectors" "$direct"
	lab_kill one
	lab_nat_flush home

	start_reflector two reflector "$natpunch" reflect -a "$LAB_REFLECTOR_B4"
	check_both -r "$LAB_REFLECTOR4"
	judge "$kind, two addresses" tcp "$mapping" "$filtering" "$direct"
	judge "$kind, two addresses" udp "$mapping" "$filtering" "$direct"
	judge_ssh "$kind, two addresses" "$direct"
	obstacle='"router"'
	[ "$direct" = false ] || obstacle='"none"'
	[ "$kind" != double ] || obstacle='"carrier"'
	for protocol in tcp udp; do
		is "$kind, $protocol: the obstacle" "$(field "$LAB_DIR/$protocol.out" obstacle)" "$obstacle"
	done
	login=no
	[ "$direct" = false ] || login=yes
	is "$kind: the row in natpunch-nat(7), which tests/lab/kinds prints" \
		"$(grep "^\.It $kind Ta .* Ta \(yes\|no\)\$" "$lab_top/man/natpunch-nat.7")" \
		"$(echo ".It $kind Ta $mapping Ta $filtering Ta $login" |
			sed 's/"//g; s/endpoint-independent/independent/g
				s/address-and-port-dependent/address, port/g; s/address-dependent/address/g')"
	case $kind in
	open) layers=0 ;;
	double) layers=2 ;;
	*+*) layers=2 ;;
	*) layers=1 ;;
	esac
	is "$kind: layers" "$(field "$LAB_DIR/tcp.out" layers)" "$layers"
	unsolicited='"dropped"'
	[ "$direct" = false ] || unsolicited='"let in"'
	case $kind in *-rst) unsolicited='"answered with a reset"' ;; esac
	is "$kind: unsolicited" "$(field "$LAB_DIR/tcp.out" unsolicited)" "$unsolicited"
	public=$(field "$LAB_DIR/tcp.out" public_port)
	preserved=false
	[ "$public" != 22 ] || preserved=true
	is "$kind: port preserved" "$(field "$LAB_DIR/tcp.out" port_preserved)" "$preserved"
	parity=false
	[ $((public % 2)) -eq 1 ] || parity=true
	is "$kind: parity preserved" "$(field "$LAB_DIR/tcp.out" parity_preserved)" "$parity"
	lab_stop
}

firewall()
{
	lab_exec home nft -f - <<-END
		table inet guard {
			chain incoming {
				type filter hook input priority 0
				tcp dport 22 ct state new $1
				udp dport 5022 ct state new drop
			}
		}
	END
}

# What is not the NAT's doing, in front of one that lets everybody in.
try_home()
{
	lab_start full-cone open
	start_reflector two reflector "$natpunch" reflect -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"

	firewall drop
	check_both -r "$LAB_REFLECTOR4"
	judge 'firewall' tcp "$ei" "$ei" false
	is 'firewall: found' "$(field "$LAB_DIR/tcp.out" local_firewall)" true
	is 'firewall: the obstacle' "$(field "$LAB_DIR/tcp.out" obstacle)" '"local firewall"'
	like 'firewall: named' "$(cat "$LAB_DIR/tcp.out")" 'dropped here, by one of: inet guard/incoming'
	judge_ssh 'firewall' false
	is 'firewall, udp: found' "$(field "$LAB_DIR/udp.out" local_firewall)" true
	is 'firewall, udp: verdict' "$(field "$LAB_DIR/udp.out" direct)" false
	lab_exec home nft delete table inet guard
	firewall 'reject with tcp reset'
	check_both -r "$LAB_REFLECTOR4"
	is 'one that rejects: found' "$(field "$LAB_DIR/tcp.out" local_firewall)" true
	is 'one that rejects: verdict' "$(field "$LAB_DIR/tcp.out" direct)" false
	lab_exec home nft delete table inet guard

	lab_sshd_stop
	check_both -r "$LAB_REFLECTOR4"
	judge 'nothing listens' tcp "$ei" "$ei" false
	is 'nothing listens: the obstacle' "$(field "$LAB_DIR/tcp.out" obstacle)" '"nothing listens"'
	is 'nothing listens: no firewall' "$(field "$LAB_DIR/tcp.out" local_firewall)" false
	lab_sshd_start

	lab_exec home "$natpunch" check -6 -f json -r "$LAB_REFLECTOR6" >"$LAB_DIR/tcp.out"
	is 'IPv6: exit 5' $? 5
	is 'IPv6: no NAT' "$(field "$LAB_DIR/tcp.out" nat)" false
	is 'IPv6: a firewall on the way filters' "$(field "$LAB_DIR/tcp.out" filtering)" "$apd"
	is 'IPv6: the obstacle' "$(field "$LAB_DIR/tcp.out" obstacle)" '"router"'

	# Text: the verdict first.
	text=$(lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	like 'text: the verdict' "$(echo "$text" | head -n 1)" \
		'^yes: strangers get in to TCP port 22 through 203\.0\.113\.2 port 22$'
	like 'text: to paste' "$text" '^  ssh -p 22 203\.0\.113\.2$'
	like 'text: the path' "$text" '^   \[ the NAT \]  203\.0\.113\.2:22 outside$'
	is 'text: nothing else is said' "$(lab_said "$LAB_DIR/said")" ''

	# The NAT hands back what is meant for its own outside.
	is 'hairpinning: not by this one' "$(field "$LAB_DIR/udp.out" hairpinning)" false
	lab_exec home-router nft -f - <<-END
		table ip hairpin {
			chain back {
				type nat hook prerouting priority dstnat - 1
				iifname "lan" ip daddr 203.0.113.2 dnat to 192.168.1.2
			}
			chain masked {
				type nat hook postrouting priority srcnat - 1
				oifname "lan" ct status dnat masquerade
			}
		}
	END
	check_both -r "$LAB_REFLECTOR4"
	is 'hairpinning: tcp' "$(field "$LAB_DIR/tcp.out" hairpinning)" true
	is 'hairpinning: udp' "$(field "$LAB_DIR/udp.out" hairpinning)" true

	# Killed in the middle, then two at the same time about the same port.
	lab_spawn killed home "$natpunch" check -v -r "$LAB_REFLECTOR4"
	wait_for_line 5 "$LAB_DIR/killed.err" 'dial-back from' || bail 'nobody is dialled'
	lab_kill killed KILL
	is 'killed: no rule is left' "$(lab_exec home nft list tables)" ''
	is 'killed: no port is held' \
		"$(lab_exec home ss -Hta state established state syn-sent | grep -c ':22 ')" 0
	lab_spawn one home "$natpunch" check -f json -r "$LAB_REFLECTOR4"
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'two at once: one' "$(field "$LAB_DIR/tcp.out" direct)" true
	wait_for 10 eval '! lab_alive one'
	is 'two at once: the other' "$(field "$LAB_DIR/one.out" direct)" true

	# Over UDP what the NAT lets in goes to whoever holds the port, once somebody does.
	like 'nobody on a UDP port: it is said' \
		"$(lab_exec home "$natpunch" check -u -p 5022 -r "$LAB_REFLECTOR4")" \
		'^  but nothing listens on port 5022 yet; start the service$'
	lab_kill two

	start_reflector mute reflector "$natpunch" reflect --no-dial
	check_both -r "$LAB_REFLECTOR4"
	judge '--no-dial' tcp null null null
	lab_kill mute
	# Its other address is its own, with another port or the same: no stranger, and nothing to
	# compare with.
	for lie in other same udp-other; do
		option=
		[ "$lie" != udp-other ] || option='-u -p 5022'
		lab_spawn liar reflector "$LAB_BIN/liar" $lie 3478
		wait_for_line 5 "$LAB_DIR/liar.out" ready || bail 'the liar does not start'
		# shellcheck disable=SC2086 # words
		lab_exec home "$natpunch" check -f json $option -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
		is "a lie, $lie: exit 5" $? 5
		is "a lie, $lie: the mapping cannot be told" "$(field "$LAB_DIR/tcp.out" mapping)" null
		is "a lie, $lie: nor a stranger" "$(field "$LAB_DIR/tcp.out" stranger)" null
		like "a lie, $lie: it is found out" "$(cat "$LAB_DIR/tcp.out")" 'which is a lie'
		keep_json
		lab_kill liar KILL
	done
	lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'no reflector: exit 1' $? 1
	is 'no reflector: no verdict' "$(cat "$LAB_DIR/out")" ''
	lab_exec home "$natpunch" check -u -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'no reflector, udp: exit 1' $? 1
	lab_stop
}

# A NAT that filters, and nothing behind it: the one says nothing of the other, and the text has
# the next step for both.
try_strict()
{
	lab_start port-restricted open
	start_reflector two reflector "$natpunch" reflect -a "$LAB_REFLECTOR_B4"
	text=$(lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4")
	is 'filtered: exit 5' $? 5
	like 'filtered: the verdict' "$(echo "$text" | head -n 1)" \
		'^no: strangers do not get in to TCP port 22 through 203\.0\.113\.2 port 22$'
	like 'filtered: connect' "$text" '^natpunch connect: yes'
	like 'filtered: method two, to paste' "$text" '^  ssh -R 1337:localhost:22 HOST$'
	like 'filtered: what would change it' "$text" '^what would change it: the router; forward TCP port 22'
	like 'filtered: somebody listens' "$text" '^  listens            yes$'
	lab_sshd_stop
	lab_nat_flush home
	text=$(lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4")
	like 'filtered, nobody there: that first' "$text" \
		'^what would change it: nothing listens on port 22; start the service$'
	like 'filtered, nobody there: filtering is told all the same' "$text" \
		'^  filtering          address-and-port-dependent$'
	lab_stop
}

try_json()
{
	ok 'there were runs with JSON' test "$(grep -c . "$all_json")" -ge 60
	# shellcheck disable=SC2016 # for perl
	ok 'each is one object on one line' perl -MJSON::PP -ne 'decode_json($_)' "$all_json"
	rm -f "$all_json"
}

# Without the right to watch, a firewall cannot be told from a NAT, and is not.
try_blind()
{
	lab_start port-restricted open
	start_reflector two reflector "$natpunch" reflect -a "$LAB_REFLECTOR_B4"
	lab_exec home setpriv --bounding-set -net_raw --inh-caps -net_raw \
		"$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'without CAP_NET_RAW: exit 5' $? 5
	is 'the verdict stands' "$(field "$LAB_DIR/tcp.out" direct)" false
	is 'but not who it is' "$(field "$LAB_DIR/tcp.out" filtering)" null
	is 'nor about a firewall' "$(field "$LAB_DIR/tcp.out" local_firewall)" null
	is 'nor the obstacle' "$(field "$LAB_DIR/tcp.out" obstacle)" null
	like 'it says what is missing' "$(cat "$LAB_DIR/tcp.out")" 'CAP_NET_RAW'
	lab_stop
}

# Another server of RFC 5780: all over UDP, the mapping over TCP, and nobody is dialled.
try_coturn()
{
	lab_start address-restricted open
	lab_spawn coturn reflector turnserver -n --stun-only --no-cli --no-tls --no-dtls \
		--log-file stdout --simple-log --pidfile "$LAB_DIR/coturn.own.pid" \
		--userdb "$LAB_DIR/coturn.db" -L "$LAB_REFLECTOR4" -L "$LAB_REFLECTOR_B4"
	wait_for 10 lab_exec reflector nc.openbsd -z "$LAB_REFLECTOR_B4" 3479 ||
		bail 'coturn does not start'
	check_both -r "$LAB_REFLECTOR4"
	judge coturn udp "$ei" "$ad" false
	judge coturn tcp "$ei" null null
	lab_exec home "$natpunch" probe -V -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'probe -V: exit 1' $? 1
	is 'probe -V: no line' "$(cat "$LAB_DIR/out")" ''
	lab_stop
}

try_home
try_strict
try_blind
try_coturn
try_kind open '"none"' "$ei"
for kind in full-cone full-cone-port full-cone+full-cone-port; do
	try_kind "$kind" "$ei" "$ei"
done
try_kind address-restricted "$ei" "$ad"
for kind in port-restricted port-restricted-port port-restricted-rst double; do
	try_kind "$kind" "$ei" "$apd"
done
for kind in symmetric symmetric-step; do
	try_kind "$kind" "$apd" "$apd"
done
try_json

done_testing
