# shellcheck shell=sh
#
# RFC 5780 by other programs: turnutils_natdiscovery, in each of its modes, and
# the client of RFC 3489. Source lab.sh and tap.sh first. Our reflector, with a
# second address, runs in the laboratory already.
#
#   behaviour_discover ARG...  what natdiscovery says
#   behaviour_begin         asks it and coturn in all modes, in the background
#   behaviour_judge KIND MAPPING FILTERING   waits for that: the verdicts are
#                           the same with either server, and these

# coturn has two more addresses of the reflector's host, so that both are asked at the same time:
# most of the time goes into waiting for answers that a NAT drops.
coturn4=198.51.100.12
coturn6=2001:db8:10::12
coturn_b4=198.51.100.13
coturn_b6=2001:db8:10::13

behaviour_listening()
{
	[ "$(lab_exec reflector ss -lunH 'sport = :3478 or sport = :3479' | grep -c ':1[23]:\|\.1[23]:')" -ge 8 ]
}

behaviour_coturn()
{
	for address in $coturn4/26 $coturn_b4/26 $coturn6/64 $coturn_b6/64; do
		lab_exec reflector ip address add "$address" dev eth0 nodad 2>"$LAB_DIR/nodad"
	done
	lab_spawn coturn reflector turnserver -n --stun-only --no-cli --no-tls --no-dtls \
		--log-file stdout --simple-log --pidfile "$LAB_DIR/coturn.own.pid" \
		--userdb "$LAB_DIR/coturn.db" -L $coturn4 -L $coturn_b4 -L $coturn6 -L $coturn_b6
	wait_for 10 behaviour_listening || bail "coturn does not start"
}

# What a run of natdiscovery says, but for what is another thing each time: local and mapped ports,
# and the clock. And but for OTHER-ADDRESS: asked at its alternate address, coturn names that
# itself, and not the other one.
behaviour_discover()
{
	lab_exec home turnutils_natdiscovery "$@" 2>&1 |
		sed -e 's/^[0-9]*: //' -e '/^RFC 5780 response/d' -e '/reflexive addr/s/:[0-9]*$//' \
			-e '/IPv[46]\. \(Response origin\|Other addr\|Local addr\): /d' | uniq
}

behaviour_modes='mapping filtering mapping-padding filtering-padding hairpinning hairpinning-padding lifetime
	collision collision-padding ipv6 rfc3489'

# MODE ADDRESS4 ADDRESS6: for -c a second address is added to home's own.
behaviour_run_mode()
{
	case $1 in
	mapping) behaviour_discover -m "$2" ;;
	filtering) behaviour_discover -f "$2" ;;
	mapping-padding) behaviour_discover -m -P "$2" ;;
	filtering-padding) behaviour_discover -f -P "$2" ;;
	hairpinning) behaviour_discover -H "$2" ;;
	hairpinning-padding) behaviour_discover -H -P "$2" ;;
	lifetime) behaviour_discover -t -T 1 "$2" ;;
	collision) behaviour_discover -c -L "$LAB_HOME4" -A 192.168.1.3 "$2" ;;
	collision-padding) behaviour_discover -c -P -L "$LAB_HOME4" -A 192.168.1.3 "$2" ;;
	ipv6) behaviour_discover -m -f "$3" ;;
	rfc3489) lab_exec home stun "$2" 2>&1 ;;
	esac
}

# MODE...: each at once, from its own port, at both servers; their output into files.
behaviour_run()
{
	running=
	for mode in "$@"; do
		behaviour_run_mode "$mode" $coturn4 $coturn6 >"$LAB_DIR/coturn.$mode" &
		running="$running $!"
		behaviour_run_mode "$mode" "$LAB_REFLECTOR4" "$LAB_REFLECTOR6" >"$LAB_DIR/ours.$mode" &
		running="$running $!"
	done
	# shellcheck disable=SC2086
	wait $running
}

# One after the other would take a minute and more.
behaviour_begin()
{
	lab_exec home ip address add 192.168.1.3/24 dev eth0
	behaviour_coturn
	# shellcheck disable=SC2086 # a list of modes
	behaviour_run $behaviour_modes &
	behaviour_pid=$!
}

behaviour_judge()
{
	wait "$behaviour_pid"
	for mode in $behaviour_modes; do
		# These clients never ask again for what was lost; so it is done for them, once.
		cmp -s "$LAB_DIR/ours.$mode" "$LAB_DIR/coturn.$mode" || behaviour_run "$mode"
		is "$1: $mode: the same with either server" \
			"$(cat "$LAB_DIR/ours.$mode")" "$(cat "$LAB_DIR/coturn.$mode")"
	done
	lab_kill coturn
	for mode in mapping mapping-padding; do
		like "$1: $mode: right" "$(cat "$LAB_DIR/ours.$mode")" "$2 Mapping"
	done
	for mode in filtering filtering-padding; do
		like "$1: $mode: right" "$(cat "$LAB_DIR/ours.$mode")" "$3 Filtering"
	done
}
