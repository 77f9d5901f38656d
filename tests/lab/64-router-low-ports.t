#!/bin/sh
# probe -k -F where the router forwards to no port below 1024, as OpenWrt's rules have it: a port of its
# own is forwarded, and what comes to it goes to sshd; for strangers, and for who knows the name.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
# shellcheck source=tests/lab/router.sh
. "$(dirname "$0")/router.sh"
need ip nft conntrack miniupnpd

# ARG...: at home, in the background, what the hint says to run.
keep()
{
	# shellcheck disable=SC2086 # words
	lab_spawn keep home "$natpunch" $printed -v "$@"
}

said()
{
	cat "$LAB_DIR/keep.err"
}

# How many sessions sshd took keys for.
sessions()
{
	grep -c '^Accepted publickey for root' "$LAB_SSHD_LOG"
}

listens()
{
	lab_exec home ss -Hltn 'sport = :2222' | grep -q .
}

is_left()
{
	! listens
}

openwrt()
{
	router_start "ext_ip=$router_public" 'allow 1024-65535 0.0.0.0/0 1024-65535' \
		'deny 0-65535 0.0.0.0/0 0-65535'
}

# One NAT, and the whole of it.
lab_start port-restricted
road_files
openwrt
ROAD_REFLECT="-a $LAB_REFLECTOR_B4"
road_reflect

line=$(lab_exec home "$natpunch" probe -F -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
is 'without -V and -k: exit 0' "$?" 0
like 'the router refuses' "$(lab_said "$LAB_DIR/said")" 'refuses to forward port 22 \(PCP: NOT_AUTHORIZED\)'
like 'and what to do' "$(lab_said "$LAB_DIR/said")" \
	"one of these leads to port 22 with: natpunch probe -k -F -r $LAB_REFLECTOR4\$"
printed=$(lab_said "$LAB_DIR/said" | sed -n 's/.* with: natpunch //p')

lab_nat_flush home
keep -V -n home -K "$LAB_DIR/home.key" -c "$LAB_DIR/file"
ok 'a high port is verified' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2222\$"
like 'the router forwards it' "$(said)" 'forwards its port 2222 to port 2222 here, by PCP, for 2 hours$'
is 'what becomes of it is told once' "$(grep -c 'what comes to port 2222 goes to the server of port 22$' \
	"$LAB_DIR/keep.err")" 1
is 'and who the server is' "$(grep -c 'connections to port 2222 go to .* on port 22$' "$LAB_DIR/keep.err")" 1
before=$(sessions)
ok 'a stranger logs in' router_lets_in 2222
is 'at the sshd of port 22' "$(sessions)" $((before + 1))
like 'which sees it come from this machine' "$(grep '^Accepted publickey' "$LAB_SSHD_LOG" | tail -n 1)" \
	' from 127\.0\.0\.1 '
ok 'the name is registered' wait_for_line 20 "$LAB_DIR/keep.err" 'home is registered'
is 'so who looks it up finds that port' \
	"$(lab_exec laptop "$natpunch" lookup -r "$LAB_REFLECTOR4" -K "$LAB_DIR/home.key" home)" \
	"$LAB_HOME_PUBLIC4 2222"
is 'and who connects gets in' "$(road_ssh echo in 2>&1)" in
lab_kill keep
is 'it ends: exit 0' "$?" 0
ok 'and the forward is given back' router_forgot

# Another has the port; what was taken is taken again.
# shellcheck disable=SC2016 # perl's
lab_spawn other home perl -MSocket -e 'my $s; socket($s, PF_INET, SOCK_STREAM, 0) &&
	setsockopt($s, SOL_SOCKET, SO_REUSEPORT, 1) && bind($s, sockaddr_in(2222, INADDR_ANY)) &&
	listen($s, 5) or die $!; select undef, undef, undef, undef'
wait_for 10 listens || bail 'nobody listens'
keep -V
ok 'a port that is taken is not' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2223\$"
ok 'a stranger logs in' router_lets_in 2223
lab_kill keep
lab_kill other
sed -i 's/2222/2345/g; s/08ae/0929/' "$LAB_DIR/file"
keep -V -c "$LAB_DIR/file" -f 'port %P'
ok 'the port in FILE is taken again' wait_for_line 20 "$LAB_DIR/keep.err" 'keeping .*:2345 by'
lab_kill keep

# It is said where connections go, so no other port is taken.
keep --to 127.0.0.1:22
ok 'with --to the port is what it was' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
unlike 'and no other is told of' "$(said)" 'what comes to port'
lab_kill keep
router_stop

# It refuses all of them.
router_start "ext_ip=$router_public" 'deny 0-65535 0.0.0.0/0 0-65535'
lab_nat_flush home
keep
ok 'a router that forwards nothing: the port is what it was' \
	wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 22\$"
like 'which is told' "$(said)" 'nor does it forward to port 2222, which is left$'
nok 'nobody listens there any more' listens
lab_kill keep
router_stop

# By UPnP, which has an error of its own for it.
router_upnp=yes
openwrt
lab_nat_flush home
keep -V --forward-by upnp
ok 'by UPnP' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2222\$"
ok 'a stranger logs in' router_lets_in 2222
lab_kill keep
router_stop
router_upnp=

# The router answers later only.
lab_exec home-router nft insert rule ip lab to_me udp dport 5351 drop
lab_nat_flush home
keep -V
ok 'a router that is not there at the start' \
	wait_for_line 20 "$LAB_DIR/keep.err" 'cannot be asked to forward'
lab_exec home-router nft flush chain ip lab to_me
openwrt
lab_signal keep HUP
ok 'is asked when there is a reason to, and then a high port taken' \
	wait_for_line 40 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2222\$"
ok 'a stranger logs in' router_lets_in 2222
lab_kill keep
router_stop

# It answers later only, and refuses all ports then.
lab_exec home-router nft insert rule ip lab to_me udp dport 5351 drop
lab_nat_flush home
keep
ok 'a router that is not there at the start, and forwards nothing' \
	wait_for_line 20 "$LAB_DIR/keep.err" 'cannot be asked to forward'
lab_exec home-router nft flush chain ip lab to_me
router_start "ext_ip=$router_public" 'deny 0-65535 0.0.0.0/0 0-65535'
lab_signal keep HUP
ok 'a high port is taken' wait_for_line 20 "$LAB_DIR/keep.err" 'what comes to port 2222 goes to'
ok 'and left when it is refused too' \
	wait_for_line 20 "$LAB_DIR/keep.err" 'nor does it forward to port 2222, which is left$'
ok 'nobody listens there any more' wait_for 20 is_left
ok 'the port is what it was' wait_for_line 20 "$LAB_DIR/keep.err" "keeping $LAB_HOME_PUBLIC4:22 by"
lab_kill keep
router_stop

# IPv6 stays with the port of -p: nothing is forwarded there.
openwrt
lab_nat_flush home
keep -r "$LAB_REFLECTOR6"
ok 'IPv4: a high port' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 2222\$"
ok 'IPv6: the port of -p' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME6 22\$"
lab_kill keep
router_stop
lab_stop

# Two NATs, the outer one changes ports.
lab_start port-restricted+full-cone-port
openwrt
lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4"
keep -V
ok 'two NATs' wait_for_line 20 "$LAB_DIR/keep.out" "^$LAB_HOME_PUBLIC4 [0-9]{4,5}\$"
port=$(sed 's/.* //' "$LAB_DIR/keep.out")
before=$(sessions)
ok 'a stranger logs in' router_lets_in "$port"
is 'at the sshd of port 22' "$(sessions)" $((before + 1))
lab_kill keep
ok 'the forward is given back' router_forgot
router_stop
lab_stop
done_testing
