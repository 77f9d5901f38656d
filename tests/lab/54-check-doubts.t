#!/bin/sh
# check says what cannot be told: with reflectors that lie, that dial nobody or that are not there, with
# other servers, without CAP_NET_RAW, and with nothing behind a NAT that filters.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/check.sh
. "$(dirname "$0")/check.sh"
need ip nft conntrack sshd setpriv turnserver nc.openbsd perl

try_servers()
{
	lab_start full-cone open
	lab_reflect mute reflector --no-dial
	check_both -r "$LAB_REFLECTOR4"
	check_judge '--no-dial' tcp null null null
	lab_kill mute
	# The reflector names its own address as the other one, with another port or the same. So it
	# has no stranger, and nothing to compare with.
	for lie in other same udp-other; do
		option=
		[ "$lie" != udp-other ] || option='-u -p 5022'
		lab_spawn liar reflector "$LAB_BIN/liar" $lie 3478
		wait_for_line 5 "$LAB_DIR/liar.out" ready || bail 'the liar does not start'
		# shellcheck disable=SC2086 # words
		lab_exec home "$natpunch" check -f json $option -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
		is "a lie, $lie: exit 5" $? 5
		is "a lie, $lie: the mapping cannot be told" "$(check_field "$LAB_DIR/tcp.out" mapping)" null
		is "a lie, $lie: nor a stranger" "$(check_field "$LAB_DIR/tcp.out" stranger)" null
		like "a lie, $lie: it is found out" "$(cat "$LAB_DIR/tcp.out")" 'which is a lie'
		check_keep_json
		lab_kill liar KILL
	done
	lab_exec home "$natpunch" check -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'no reflector: exit 1' $? 1
	is 'no reflector: no verdict' "$(cat "$LAB_DIR/out")" ''
	lab_exec home "$natpunch" check -u -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'no reflector, udp: exit 1' $? 1
	lab_stop
}

# PATTERN: prints the command of the text that matches it, to be run where the key is.
step()
{
	echo "cd $LAB_DIR && PATH=$lab_top:\$PATH && exec $(echo "$text" | sed -n "/^  .*$1/s/^  //p" |
		sed 's|~/\.ssh/config|config|')"
}

# NAME: runs the steps to a name at home and at the reflector, as the text has them.
start_steps()
{
	lab_exec home sh -c "$(step keygen | sed 's/exec //')"
	lab_spawn steps reflector sh -c "$(step 'natpunch reflect -K')"
	ok "$1: a reflector that keeps names" wait_for_line 5 "$LAB_DIR/steps.err" ready
	lab_spawn keep home sh -c "$(step 'probe -k') -v"
	ok "$1: home has the name" wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered'
}

# At home and at the laptop a daemon has the port.
try_udp_steps()
{
	for host in home laptop; do
		# shellcheck disable=SC2016 # a program in perl
		lab_spawn "daemon-$host" "$host" perl -MIO::Socket::INET -e \
			'$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 5022) or die; $| = 1; print "bound\n"; sleep'
		wait_for_line 10 "$LAB_DIR/daemon-$host.out" '^bound$' || bail 'no daemon'
	done
	text=$(lab_exec home "$natpunch" check -u -p 5022 -r "$reflector")
	lab_kill two
	start_steps 'the steps, UDP'
	is 'the steps, UDP: the laptop has the way' \
		"$(lab_exec laptop sh -c "$(step 'natpunch connect')" 2>/dev/null)" "$LAB_HOME_PUBLIC4 5022"
	for name in keep steps daemon-home daemon-laptop; do
		lab_kill $name
	done
	lab_reflect two reflector -l 4000 -a "$LAB_REFLECTOR_B4"
}

try_steps()
{
	lab_kill two
	start_steps 'the steps'
	lab_exec laptop sh -c "$(step 'connect --ssh-config')"
	is 'the steps: ssh home' "$(lab_exec laptop env "PATH=$lab_top:$PATH" ssh -F "$LAB_DIR/config" -l root \
		-i "$LAB_DIR/user_key" -o UserKnownHostsFile="$LAB_DIR/known_hosts" \
		-o GlobalKnownHostsFile=none -o BatchMode=yes home echo well </dev/null)" well
	lab_kill keep
	lab_kill steps
	lab_reflect two reflector -l 4000 -a "$LAB_REFLECTOR_B4"
}

# A NAT that filters, and nothing behind it: check tells the one from the other, and has the next step
# for each. The reflector has another port than the default.
try_strict()
{
	reflector=$LAB_REFLECTOR4:4000
	lab_start port-restricted open
	lab_reflect two reflector -l 4000 -a "$LAB_REFLECTOR_B4"
	text=$(lab_exec home "$natpunch" check -r "$reflector")
	is 'filtered: exit 5' $? 5
	like 'filtered: the verdict' "$(echo "$text" | head -n 1)" \
		'^no: your router \(192\.168\.1\.1\) lets nobody in to TCP port 22 here$'
	like 'filtered: what to do' "$text" '^What to do: give this machine a name'
	like 'filtered: or by hand' "$text" "^Or in your router's settings, forward TCP port 22 to $LAB_HOME4\.\$"
	like 'filtered: somebody listens' "$text" '^  listens            yes$'
	try_steps
	try_udp_steps
	lab_sshd_stop
	lab_nat_flush home
	text=$(lab_exec home "$natpunch" check -r "$reflector")
	like 'filtered, nobody there: that first' "$text" \
		'^no: nothing listens on TCP port 22 here$'
	like 'filtered, nobody there: what to do' "$text" '^What to do: start the server on port 22\. Then check again:$'
	like 'filtered, nobody there: the command' "$text" "^  natpunch check -r $reflector\$"
	like 'filtered, nobody there: filtering is told all the same' "$text" \
		'^  filtering          address-and-port-dependent$'
	lab_stop
}

# Without CAP_NET_RAW check cannot tell this machine's firewall from a NAT, and says so.
try_blind()
{
	lab_start port-restricted open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	lab_exec home setpriv --bounding-set -net_raw --inh-caps -net_raw \
		"$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'without CAP_NET_RAW: exit 5' $? 5
	is 'the verdict stands' "$(check_field "$LAB_DIR/tcp.out" direct)" false
	is 'but not who it is' "$(check_field "$LAB_DIR/tcp.out" filtering)" null
	is 'nor about a firewall' "$(check_field "$LAB_DIR/tcp.out" local_firewall)" null
	is 'nor the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" null
	like 'it says what is missing' "$(cat "$LAB_DIR/tcp.out")" 'CAP_NET_RAW'
	lab_stop
}

# Another server of RFC 5780 tells all over UDP, and the mapping over TCP; it dials nobody.
try_coturn()
{
	lab_start address-restricted open
	lab_spawn coturn reflector turnserver -n --stun-only --no-cli --no-tls --no-dtls \
		--log-file stdout --simple-log --pidfile "$LAB_DIR/coturn.own.pid" \
		--userdb "$LAB_DIR/coturn.db" -L "$LAB_REFLECTOR4" -L "$LAB_REFLECTOR_B4"
	wait_for 10 lab_exec reflector nc.openbsd -z "$LAB_REFLECTOR_B4" 3479 ||
		bail 'coturn does not start'
	check_both -r "$LAB_REFLECTOR4"
	check_judge coturn udp "$check_ei" "$check_ad" false
	check_judge coturn tcp "$check_ei" null null
	lab_exec home "$natpunch" probe -V -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
	is 'probe -V: exit 1' $? 1
	is 'probe -V: no line' "$(cat "$LAB_DIR/out")" ''
	lab_stop
}

# ADDRESS...: sshd at home listens there and nowhere else.
listen_on()
{
	lab_sshd_stop
	lab_nat_flush home
	sed -i '/^ListenAddress/d' "$LAB_DIR/sshd_config"
	for address in "$@"; do
		echo "ListenAddress $address" >>"$LAB_DIR/sshd_config"
	done
	lab_spawn sshd home sh "$LAB_DIR/sshd.sh"
	wait_for_line 10 "$LAB_DIR/sshd.err" 'Server listening' || bail 'sshd does not start'
}

# The NAT lets everybody in, and sshd listens on another address: check blames no firewall.
try_elsewhere()
{
	lab_start full-cone open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	for address in 127.0.0.1 ::1 ::; do
		listen_on "$address"
		lab_exec home "$natpunch" check -4 -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
		is "sshd on $address: exit 5" $? 5
		is "sshd on $address: check says so" "$(head -n 1 "$LAB_DIR/out")" \
			"no: on port 22 sshd listens on $address only"
		like "sshd on $address: and what to do" "$(cat "$LAB_DIR/out")" \
			"^What to do: have it listen on $LAB_HOME4 as well\. Then check again:\$"
		lab_nat_flush home
		lab_exec home "$natpunch" probe -4 -V -r "$LAB_REFLECTOR4" >"$LAB_DIR/out" 2>"$LAB_DIR/said"
		is "sshd on $address: probe -V: exit 5" $? 5
		like "sshd on $address: probe -V says so" "$(cat "$LAB_DIR/said")" \
			"^hint: sshd listens on $address only: have it listen on $LAB_HOME4 as well\$"
		lab_nat_flush home
	done
	listen_on 127.0.0.1 "$LAB_HOME4"
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'sshd on its address: exit 0' $? 0
	lab_nat_flush home
	listen_on 127.0.0.1 ::1
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	is 'sshd on two others: the obstacle' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"listens elsewhere"'
	is 'sshd on two others: both are named' "$(check_field "$LAB_DIR/tcp.out" listens_evidence | sed 's/ (pid.*)//')" \
		'"sshd listens on 127.0.0.1 and ::1 only"'
	check_keep_json
	lab_nat_flush home
	lab_spawn keep home "$natpunch" probe -k -4 -r "$LAB_REFLECTOR4"
	wait_for_line 5 "$LAB_DIR/keep.err" 'have it listen on' || diag "$(cat "$LAB_DIR/keep.err")"
	like 'sshd on two others: probe -k warns' "$(cat "$LAB_DIR/keep.err")" \
		"sshd listens on 127.0.0.1 and ::1 only: have it listen on $LAB_HOME4 as well"
	lab_kill keep
	lab_stop
}

# A provider that numbers its gateways from 100.64.0.0/10 and has no NAT: the router has the public
# address.
try_gateway()
{
	lab_start port-restricted open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	line=$(lab_exec internet ip -o route get "$LAB_HOME_PUBLIC4" | sed 's/.* dev \([^ ]*\) .*/\1/')
	lab_exec internet ip addr add 100.64.9.1/32 dev lo
	lab_exec internet ip route change "${LAB_HOME_PUBLIC4%.*}.0/26" dev "$line" src 100.64.9.1
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	like "a carrier's gateway is seen" "$(check_field "$LAB_DIR/tcp.out" layers_evidence)" \
		"100\.64\.9\.1 is in a provider's network \(100\.64\.0\.0/10\), but router 1 on the way, in front of it, has $LAB_HOME_PUBLIC4"
	is "a carrier's gateway is no layer" "$(check_field "$LAB_DIR/tcp.out" layers)" 1
	is 'the obstacle is the router' "$(check_field "$LAB_DIR/tcp.out" obstacle)" '"router"'
	check_keep_json
	lab_nat_flush home
	# The router reports no time to live that is over: then nothing is certain.
	lab_exec home-router nft -f - <<-END
	table inet silent {
		chain out {
			type filter hook output priority 0
			icmp type time-exceeded drop
		}
	}
	END
	lab_exec home "$natpunch" check -f json -r "$LAB_REFLECTOR4" >"$LAB_DIR/tcp.out"
	like 'a silent router: it is left open' "$(check_field "$LAB_DIR/tcp.out" layers_evidence)" \
		'100\.64\.9\.1 is in .*: there may be another NAT'
	is 'a silent router: no layer is made of it' "$(check_field "$LAB_DIR/tcp.out" layers)" 1
	check_keep_json
	lab_stop
}

try_servers
try_gateway
try_elsewhere
try_strict
try_blind
try_coturn
check_json 8

done_testing
