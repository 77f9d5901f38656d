#!/bin/sh
# RFC 5780: turnutils_natdiscovery, in each of its modes, and the client of RFC
# 3489 come to the same verdict with our reflector as with coturn's server, in
# front of every kind of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft tcpdump turnutils_natdiscovery turnserver stun

natpunch=$lab_top/natpunch

# coturn has two more addresses of the reflector's host, so that both are asked at the same time:
# most of the time goes into waiting for answers that a NAT drops.
coturn4=198.51.100.12
coturn6=2001:db8:10::12
coturn_b4=198.51.100.13
coturn_b6=2001:db8:10::13

listening()
{
	[ "$(lab_exec reflector ss -lunH 'sport = :3478 or sport = :3479' | grep -c ':1[23]:\|\.1[23]:')" -ge 8 ]
}

start_ours()
{
	lab_spawn ours reflector "$natpunch" reflect "$@" \
		-a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"
	wait_for_line 5 "$LAB_DIR/ours.err" ready || bail "the reflector does not start"
}

start_coturn()
{
	for address in $coturn4/26 $coturn_b4/26 $coturn6/64 $coturn_b6/64; do
		lab_exec reflector ip address add "$address" dev eth0 nodad 2>"$LAB_DIR/nodad"
	done
	lab_spawn coturn reflector turnserver -n --stun-only --no-cli --no-tls --no-dtls \
		--log-file stdout --simple-log --pidfile "$LAB_DIR/coturn.own.pid" \
		--userdb "$LAB_DIR/coturn.db" -L $coturn4 -L $coturn_b4 -L $coturn6 -L $coturn_b6
	wait_for 10 listening || bail "coturn does not start"
}

# What a run of natdiscovery says, but for what is another thing each time: local and mapped ports,
# and the clock. And but for OTHER-ADDRESS: asked at its alternate address, coturn names that
# itself, and not the other one.
discover()
{
	lab_exec home turnutils_natdiscovery "$@" 2>&1 |
		sed -e 's/^[0-9]*: //' -e '/^RFC 5780 response/d' -e '/reflexive addr/s/:[0-9]*$//' \
			-e '/IPv[46]\. \(Response origin\|Other addr\|Local addr\): /d' | uniq
}

modes='mapping filtering mapping-padding filtering-padding hairpinning hairpinning-padding lifetime
	collision collision-padding ipv6 rfc3489'

# MODE ADDRESS4 ADDRESS6: for -c a second address is added to home's own.
run_mode()
{
	case $1 in
	mapping) discover -m "$2" ;;
	filtering) discover -f "$2" ;;
	mapping-padding) discover -m -P "$2" ;;
	filtering-padding) discover -f -P "$2" ;;
	hairpinning) discover -H "$2" ;;
	hairpinning-padding) discover -H -P "$2" ;;
	lifetime) discover -t -T 1 "$2" ;;
	collision) discover -c -L "$LAB_HOME4" -A 192.168.1.3 "$2" ;;
	collision-padding) discover -c -P -L "$LAB_HOME4" -A 192.168.1.3 "$2" ;;
	ipv6) discover -m -f "$3" ;;
	rfc3489) lab_exec home stun "$2" 2>&1 ;;
	esac
}

# MODE...: each at once, from its own port, at both servers; their output into files.
run_modes()
{
	running=
	for mode in "$@"; do
		run_mode "$mode" $coturn4 $coturn6 >"$LAB_DIR/coturn.$mode" &
		running="$running $!"
		run_mode "$mode" "$LAB_REFLECTOR4" "$LAB_REFLECTOR6" >"$LAB_DIR/ours.$mode" &
		running="$running $!"
	done
	# shellcheck disable=SC2086
	wait $running
}

# KIND MAPPING FILTERING: what the verdicts have to be, as ERE.
try_kind()
{
	lab_start "$1" open
	lab_exec home ip address add 192.168.1.3/24 dev eth0
	start_coturn
	start_ours -l "$LAB_REFLECTOR4:3478" -l "[$LAB_REFLECTOR6]:3478"
	# shellcheck disable=SC2086
	run_modes $modes
	for mode in $modes; do
		# These clients never ask again for what was lost; so it is done for them, once.
		cmp -s "$LAB_DIR/ours.$mode" "$LAB_DIR/coturn.$mode" || run_modes "$mode"
		is "$1: $mode: the same with either server" \
			"$(cat "$LAB_DIR/ours.$mode")" "$(cat "$LAB_DIR/coturn.$mode")"
	done
	lab_kill coturn
	lab_kill ours
	is "$1: the reflector ends cleanly" $? 0
	for mode in mapping mapping-padding; do
		like "$1: $mode: right" "$(cat "$LAB_DIR/ours.$mode")" "$2"
	done
	for mode in filtering filtering-padding; do
		like "$1: $mode: right" "$(cat "$LAB_DIR/ours.$mode")" "$3"
	done
	lab_stop
}

while read -r kind mapping filtering; do
	try_kind "$kind" "$(echo "$mapping" | tr _ ' ') Mapping" \
		"$(echo "$filtering" | tr _ ' ') Filtering"
done <<-END
	open Endpoint_Independent Endpoint_Independent
	full-cone Endpoint_Independent Endpoint_Independent
	full-cone-port Endpoint_Independent Endpoint_Independent
	address-restricted Endpoint_Independent Address_Dependent
	port-restricted Endpoint_Independent Address_and_Port_Dependent
	port-restricted-port Endpoint_Independent Address_and_Port_Dependent
	port-restricted-rst Endpoint_Independent Address_and_Port_Dependent
	symmetric Address_and_Port_Dependent Address_and_Port_Dependent
	symmetric-step Address_and_Port_Dependent Address_and_Port_Dependent
	double Endpoint_Independent Address_and_Port_Dependent
	full-cone+full-cone-port Endpoint_Independent Endpoint_Independent
END

# Listening on every address, as without -l: here the main one is chosen for us.
lab_start full-cone open
start_ours
for address in "$LAB_REFLECTOR4" "$LAB_REFLECTOR_B4"; do
	out=$(discover -m -f -P "$address")
	like "listening everywhere, asked at $address: mapping" "$out" "Endpoint Independent Mapping"
	like "listening everywhere, asked at $address: filtering" "$out" \
		"Endpoint Independent Filtering"
done
out=$(discover -m "$LAB_REFLECTOR_B6")
like "listening everywhere, asked at $LAB_REFLECTOR_B6: mapping" "$out" \
	"Endpoint Independent Mapping"
# Asked to answer from the other place: where the packets really come from.
lab_capture answers home eth0 "udp and src port 3479"
lab_exec home stun "$LAB_REFLECTOR4" >/dev/null 2>&1
like "the answer to change the port comes from that port" "$(lab_captured answers -nn)" \
	"IP $LAB_REFLECTOR4\.3479 > "
lab_kill ours
lab_stop

done_testing
