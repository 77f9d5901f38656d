#!/bin/sh
# connect -u: two UDP daemons, each behind a NAT that lets in nobody but whom it has spoken to, come
# to each other, from the ports that they have held all the while. What is looked at is what the
# daemons get, and what NATs and wire know.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss tcpdump perl openvpn ssh

# daemon PORT [FILE]: answers each "hello", and nothing else. With FILE it waits for that, with an
# address and a port in it, and says hello to there until it is answered.
cat_daemon()
{
	cat >"$LAB_DIR/daemon" <<-'END'
	use IO::Socket::INET;
	my ($port, $file) = @ARGV;
	my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '0.0.0.0', LocalPort => $port) or die "$!";
	my ($peer, $data);
	$| = 1;
	print "bound\n";
	while (1) {
	    my $readable = '';
	    if ($file && !$peer && -s $file) {
	        open my $in, '<', $file or die;
	        my ($addr, $to) = split ' ', <$in>;
	        $peer = pack_sockaddr_in($to, inet_aton($addr));
	    }
	    $socket->send('hello', 0, $peer) if $peer;
	    vec($readable, fileno($socket), 1) = 1;
	    select($readable, undef, undef, 0.1) or next;
	    my $from = $socket->recv($data, 2048) or next;
	    my ($number, $ip) = unpack_sockaddr_in($from);
	    my $who = inet_ntoa($ip) . " $number";
	    print "hello from $who\n" and $socket->send('well', 0, $from) if $data eq 'hello';
	    print "well from $who\n" and $peer = $file = undef if $data eq 'well';
	}
	END
}

# NAME NS PORT [FILE]
start_daemon()
{
	daemon_name=$1
	daemon_ns=$2
	shift 2
	lab_spawn "$daemon_name" "$daemon_ns" perl "$LAB_DIR/daemon" "$@"
	wait_for_line 10 "$LAB_DIR/$daemon_name.out" '^bound$' || bail "no daemon: $(cat "$LAB_DIR/$daemon_name.err")"
}

# NAME NS PORT: what is found to hold it, and by which inode.
port_of()
{
	lab_exec "$1" ss -uanpeH "sport = :$2" 2>/dev/null | tr -s ' '
}

# ARG...: connect -u at the laptop; status, line and words.
connect_udp()
{
	lab_exec laptop "$natpunch" connect -v -u -r "$ROAD_ADDR" -K "$LAB_DIR/home.key" "$@" home \
		>"$LAB_DIR/connect.out" 2>"$LAB_DIR/connect.err"
	status=$?
	line=$(cat "$LAB_DIR/connect.out")
}

# KIND LAPTOPKIND: reflector, home with its daemon and probe -k
start_pair()
{
	lab_start "$1" "$2"
	cat_daemon
	road_files
	road_reflect
	start_daemon home-daemon home 5000
	road_keep -u -p 5000 -i 2
}

# TITLE: from $line to home's daemon and back, by the ports that both had before.
daemons_meet()
{
	echo "$line" >"$LAB_DIR/target"
	ok "$1: the laptop's daemon gets its answer" \
		wait_for_line 10 "$LAB_DIR/laptop-daemon.out" "^well from $line\$"
	like "$1: home's daemon saw it come from the laptop's mapping" \
		"$(cat "$LAB_DIR/home-daemon.out")" "^hello from $LAB_LAPTOP_PUBLIC4 "
}

# TITLE METHOD...
try_methods()
{
	title=$1
	shift
	start_daemon laptop-daemon laptop 6000 "$LAB_DIR/target"
	before="$(port_of home 5000) $(port_of laptop 6000)"
	for method in "$@"; do
		lab_nat_flush laptop
		connect_udp -p 6000 -m "$method"
		is "$title, $method: exit 0" "$status" 0
		case $LAB_KIND in
		symmetric*) like "$title, $method: another mapping of home" "$line" \
			"^$LAB_HOME_PUBLIC4 [0-9]+\$" ;;
		*) is "$title, $method: home's mapping" "$line" "$(tail -n 1 "$LAB_DIR/keep.out")" ;;
		esac
	done
	daemons_meet "$title"
	is "$title: both daemons have their sockets still" \
		"$(port_of home 5000) $(port_of laptop 6000)" "$before"
}

# KIND LAPTOPKIND METHOD...
try_pair()
{
	start_pair "$1" "$2"
	title="home $1, laptop $2"
	shift 2
	try_methods "$title" "$@"
	lab_stop
}

# KIND LAPTOPKIND VICTIM MS: two reflectors, over lines of 20 ms, and the first or the second is killed
# so long after connect's start.
try_killed()
{
	LAB_DELAY=20
	lab_start "$1" "$2"
	unset LAB_DELAY
	title="home $1, laptop $2, $3 killed after $4 ms"
	cat_daemon
	road_files
	road_reflect
	lab_reflect second second -v -K "$LAB_DIR/keys"
	start_daemon home-daemon home 5000
	road_keep -u -p 5000 -i 2 -r "$LAB_SECOND4"
	wait_for_line 20 "$LAB_DIR/keep.err" "home is registered.*$LAB_SECOND4" || bail "not at both"
	start_daemon laptop-daemon laptop 6000 "$LAB_DIR/target"
	{
		connect_udp -p 6000 -r "$LAB_SECOND4"
		echo "$status $line" >"$LAB_DIR/ended"
	} &
	asker=$!
	sleep "$(printf '0.%03d' "$4")"
	lab_kill "$3" KILL
	wait "$asker"
	like "$title: exit 0, and a line" "$(cat "$LAB_DIR/ended")" "^0 $LAB_HOME_PUBLIC4 [0-9]+\$"
	line=$(cat "$LAB_DIR/connect.out")
	daemons_meet "$title"
	lab_stop
}

# KIND LAPTOPKIND HINT: no way, and why
try_vain()
{
	title="home $1, laptop $2"
	start_pair "$1" "$2"
	connect_udp -p 6000 -t 2
	is "$title: exit 5" "$status" 5
	is "$title: no line" "$line" ''
	like "$title: the reason" "$(cat "$LAB_DIR/connect.err")" "^hint: $3"
	lab_stop
}

# NAME NS ARG...: an end of a VPN with a common key, on the tunnel's device vpn.
start_vpn()
{
	vpn_name=$1
	vpn_ns=$2
	shift 2
	lab_spawn "$vpn_name" "$vpn_ns" openvpn --dev-type tun --dev vpn --secret "$LAB_DIR/vpn.key" \
		--cipher AES-256-CBC --auth SHA256 --verb 3 --ping 1 --proto udp "$@"
	wait_for_line 10 "$LAB_DIR/$vpn_name.out" 'TUN/TAP device vpn opened' ||
		bail "OpenVPN does not start: $(cat "$LAB_DIR/$vpn_name.out" "$LAB_DIR/$vpn_name.err")"
}

# Of the checks, and of all that the daemons said, nothing left from another port than theirs.
own_ports_alone()
{
	lab_captured "$1" "host $2 and not port 3478" | awk '{ print $3, $5 }' |
		sed 's/:$//' | grep -cvE "^($3 $4|$4 $3)\$"
}

try_openvpn()
{
	openvpn --genkey secret "$LAB_DIR/vpn.key" || bail "openvpn --genkey"
	lab_kill home-daemon
	lab_kill laptop-daemon
	lab_nat_flush laptop
	start_vpn vpn home --ifconfig 10.9.0.1 10.9.0.2 --port 5000 --float
	lab_capture wire laptop eth0 udp
	connect_udp -p 6000 -m bind
	is "OpenVPN: exit 0, before there is a daemon at the laptop" "$status" 0
	# shellcheck disable=SC2086 # an address and a port
	start_vpn client laptop --ifconfig 10.9.0.2 10.9.0.1 --lport 6000 --remote $line
	ok "OpenVPN: the tunnel stands" \
		wait_for_line 15 "$LAB_DIR/client.out" 'Initialization Sequence Completed'
	like "OpenVPN: home says from where" "$(cat "$LAB_DIR/vpn.out")" \
		"Peer Connection Initiated with .*$LAB_LAPTOP_PUBLIC4:6000"
	is "OpenVPN: home's sshd is reached through it" \
		"$(lab_ssh laptop 10.9.0.1 22 echo in)" in
	echo 10.9.0.2 7000 >"$LAB_DIR/target"
	start_daemon inner laptop 7000
	start_daemon outer home 7001 "$LAB_DIR/target"
	ok "OpenVPN: and the laptop from home" \
		wait_for_line 10 "$LAB_DIR/outer.out" '^well from 10\.9\.0\.2 7000$'
	is "OpenVPN: between the two ports and no others" "$(own_ports_alone wire \
		"$LAB_HOME_PUBLIC4" "$LAB_LAPTOP4\.6000" "$LAB_HOME_PUBLIC4\.5000")" 0
	connect_udp -p 6000
	is "OpenVPN: and it can be opened anew while the tunnel is used" "$status" 0
	for name in client vpn wire inner outer; do
		lab_kill $name
	done
}

wg_keys()
{
	(umask 077 && for side in home laptop; do
		wg genkey >"$LAB_DIR/wg-$side" && wg pubkey <"$LAB_DIR/wg-$side" >"$LAB_DIR/wg-$side.pub"
	done)
}

# NS IFACE ADDR PORT PEER ARG...: an interface that a process serves; its socket is in /run, which
# all namespaces have in common.
wg_start()
{
	lab_spawn "$2" "$1" env LOG_LEVEL=error wireguard-go -f "$2"
	wait_for 10 test -S "/run/wireguard/$2.sock" || bail "wireguard-go does not start"
	wg_ns=$1 wg_if=$2 wg_addr=$3 wg_port=$4 wg_peer=$5
	shift 5
	lab_exec "$wg_ns" wg set "$wg_if" listen-port "$wg_port" private-key "$LAB_DIR/wg-$wg_ns" \
		peer "$(cat "$LAB_DIR/wg-$wg_peer.pub")" allowed-ips 10.8.0.0/24 "$@" &&
		printf '%s\n' "addr add $wg_addr/24 dev $wg_if" "link set $wg_if up" | lab_ip "$wg_ns"
}

# As the manual has it: home knows no endpoint, the laptop is told it by connect.
try_wireguard()
{
	lab_kill home-daemon
	lab_nat_flush laptop
	wg_keys || bail "wg genkey"
	ok "WireGuard: home's is there" wg_start home "wgh$$" 10.8.0.1 5000 laptop
	ok "WireGuard: and the laptop's" wg_start laptop "wgl$$" 10.8.0.2 6000 home
	connect_udp -p 6000
	is "WireGuard: exit 0" "$status" 0
	lab_exec laptop wg set "wgl$$" peer "$(cat "$LAB_DIR/wg-home.pub")" endpoint "${line% *}:${line#* }"
	is "WireGuard: home's sshd is reached through it" \
		"$(lab_ssh laptop 10.8.0.1 22 echo in)" in
	is "WireGuard: home knows from where" "$(lab_exec home wg show "wgh$$" endpoints | cut -f 2)" \
		"$LAB_LAPTOP_PUBLIC4:6000"
	connect_udp -p 6000
	is "WireGuard: and it can be opened anew while it is used" "$status" 0
	lab_kill "wgh$$"
	lab_kill "wgl$$"
}

# By a port of the laptop's that something else sends from, as the manual has it.
try_mosh()
{
	lab_kill keep
	lab_nat_flush laptop
	road_keep -u -p 60001 -i 2
	lab_exec home env LC_ALL=C.UTF-8 mosh-server new -p 60001 -- /bin/sh -c 'echo you are in; cat' \
		>"$LAB_DIR/mosh" 2>/dev/null
	key=$(sed -n 's/.*MOSH CONNECT 60001 //p' "$LAB_DIR/mosh" | tr -d '\r')
	connect_udp -p 6005
	is "mosh: exit 0" "$status" 0
	lab_spawn socat laptop socat UDP4-LISTEN:60001,bind=127.0.0.1 \
		"UDP4:${line% *}:${line#* },sourceport=6005"
	lab_spawn mosh-client laptop env MOSH_KEY="$key" LC_ALL=C.UTF-8 TERM=xterm script -qefc \
		'stty rows 24 cols 80; mosh-client 127.0.0.1 60001' "$LAB_DIR/screen"
	ok "mosh: the terminal at home is there" wait_for_line 15 "$LAB_DIR/screen" 'you are in'
	lab_kill mosh-client
	lab_kill socat
}

lines_are()
{
	[ -f "$LAB_DIR/kept.out" ] && [ "$(wc -l <"$LAB_DIR/kept.out")" -eq "$1" ]
}

# -k: a line when home is somewhere else.
try_keep()
{
	lab_spawn kept laptop "$natpunch" connect -k -u -v -i 0.5 -p 6000 -r "$ROAD_ADDR" \
		-K "$LAB_DIR/home.key" -f '%a:%p %P %m' home
	ok "-k: a line" wait_for 10 lines_are 1
	is "-k: in the form that was asked for" "$(cat "$LAB_DIR/kept.out")" \
		"$LAB_HOME_PUBLIC4:5000 6000 bind"
	lab_nat_address home 203.0.113.20
	lab_nat_flush home
	ok "-k: home has moved, and a line says so" wait_for 20 lines_are 2
	is "-k: to where" "$(tail -n 1 "$LAB_DIR/kept.out")" '203.0.113.20:5000 6000 bind'
	ok "-k: it stays" lab_alive kept
	lab_kill kept
}

# IPv6, where a firewall is in the way on both sides; and one family alone at home.
try_ipv6()
{
	lab_kill keep
	lab_kill reflect
	road_reflect
	ROAD_ADDR=$LAB_REFLECTOR6
	road_keep -u -p 5000
	connect_udp -p 6000
	is "IPv6: exit 0" "$status" 0
	is "IPv6: home's address" "$line" "$LAB_HOME6 5000"
	ROAD_ADDR=$LAB_REFLECTOR4
	connect_udp -p 6000
	is "IPv6 at home alone, the reflector by IPv4: exit 1" "$status" 1
	like "IPv6 at home alone: in words" "$(cat "$LAB_DIR/connect.err")" \
		'^natpunch connect: [0-9.:]* knows a UDP address of home in the other IP family only, '
}

# Without a privilege home hears nothing, and says so.
try_deaf()
{
	lab_kill keep
	lab_kill home-daemon
	chmod 755 "$LAB_DIR"
	cp "$LAB_DIR/home.key" "$LAB_DIR/nobody.key" && chown 65534 "$LAB_DIR/nobody.key"
	lab_spawn keep home setpriv --reuid 65534 --regid 65534 --clear-groups "$natpunch" probe -k \
		-u -p 5000 -r "$LAB_REFLECTOR4" -n home -K "$LAB_DIR/nobody.key"
	ok "no privilege at home: it says that nobody can come in" \
		wait_for_line 10 "$LAB_DIR/keep.err" 'connect -u cannot come in: method bind leaves'
}

# By rewrite alone at home, where nobody has answered what came to the port before.
try_rewrite_at_home()
{
	lab_kill keep
	ROAD_ADDR=$LAB_REFLECTOR4
	start_daemon mute home 5001
	road_keep -u -p 5001 -m rewrite
	for turn in first second; do
		connect_udp -p 6001
		is "rewrite at home, the $turn time: exit 0" "$status" 0
	done
	lab_kill mute
}

# Home's daemon is at another port than the one that is kept, and gets what comes there. Home may
# have few descriptors open.
try_to_another_port()
{
	lab_kill keep
	lab_nat_flush laptop
	lab_spawn keep home sh -c "ulimit -n 48; exec \"\$@\"" sh "$natpunch" probe -k -v -u -p 5002 \
		--to 127.0.0.1:5000 -i 2 -r "$ROAD_ADDR" -n home -K "$LAB_DIR/home.key"
	wait_for_line 10 "$LAB_DIR/keep.err" 'home is registered' || bail "not registered"
	connect_udp -p 6003
	is "--to at home: exit 0" "$status" 0
	is "--to at home: the kept port's mapping" "$line" "$LAB_HOME_PUBLIC4 5002"
	echo "$line" >"$LAB_DIR/target"
	start_daemon third-daemon laptop 6003 "$LAB_DIR/target"
	ok "--to at home: the laptop's daemon gets its answer" \
		wait_for_line 10 "$LAB_DIR/third-daemon.out" "^well from $line\$"
	lab_kill third-daemon
}

# TITLE: of the two reflectors the second leads home, whatever the first is
second_leads()
{
	lab_nat_flush laptop
	connect_udp -p 6000 -t 5 -r "$LAB_SECOND4"
	is "two reflectors, $1: exit 0" "$status" 0
	is "two reflectors, $1: home's mapping" "$line" "$LAB_HOME_PUBLIC4 5000"
}

# By bind, sockets of one port speak to both reflectors, and the rest is passed on.
try_bind_at_both()
{
	lab_exec home "$natpunch" probe -q -u -m bind -p 5008 -n home -K "$LAB_DIR/home.key" \
		-r "$LAB_REFLECTOR4" -r "$LAB_SECOND4" >"$LAB_DIR/once" 2>&1
	is 'bind, once at both: exit 0, and no warning' "$? $(cat "$LAB_DIR/once")" \
		"0 $LAB_HOME_PUBLIC4 5008"
	is 'bind, once: the second knows it' "$(lab_exec laptop "$natpunch" lookup -u \
		-r "$LAB_SECOND4" -K "$LAB_DIR/home.key" home)" "$LAB_HOME_PUBLIC4 5008"
	road_keep -u -p 5002 --to 127.0.0.1:5000 -i 1 -r "$LAB_SECOND4"
	ok 'bind, kept: home is at both' wait_for_line 10 "$LAB_DIR/keep.err" \
		"home is registered as .*, at $LAB_SECOND4"
	lab_kill reflect KILL
	ok 'bind, kept: the second keeps it when the first is dead' wait_for_line 20 \
		"$LAB_DIR/keep.err" "the mapping is kept by $LAB_SECOND4:3478 from now on"
	connect_udp -p 6003 -r "$LAB_SECOND4"
	is 'bind, kept: by the second home is reached' "$status $line" "0 $LAB_HOME_PUBLIC4 5002"
	echo "$line" >"$LAB_DIR/target"
	start_daemon third-daemon laptop 6003 "$LAB_DIR/target"
	ok 'bind, kept: and its daemon answers' \
		wait_for_line 10 "$LAB_DIR/third-daemon.out" "^well from $line\$"
	lab_kill third-daemon
	lab_kill keep
	road_reflect
	lab_exec home "$natpunch" probe -q -u -p 5009 -n home -K "$LAB_DIR/home.key" \
		-r "$ROAD_ADDR" >"$LAB_DIR/old"
}

# Home is held by the second reflector alone, and the first is each thing that it can be.
try_several()
{
	lab_kill reflect
	lab_kill keep
	lab_reflect two second -K "$LAB_DIR/keys"
	start_daemon home-daemon home 5000
	ROAD_ADDR=$LAB_SECOND4
	road_keep -u -p 5000
	ROAD_ADDR=$LAB_REFLECTOR4
	lab_exec reflector nft add table inet dead
	lab_exec reflector nft add chain inet dead in '{ type filter hook input priority 0; policy drop; }'
	second_leads 'the first silent'
	lab_exec reflector nft delete table inet dead
	second_leads 'the first not there'
	lab_reflect reflect reflector
	second_leads 'the first keeps no names'
	lab_kill reflect
	road_reflect
	second_leads 'the first knows nothing of home'
	lab_exec home "$natpunch" probe -q -u -p 5009 -n home -K "$LAB_DIR/home.key" \
		-r "$ROAD_ADDR" >"$LAB_DIR/old"
	second_leads 'the first has an old word of home'
	like 'two reflectors: it was tried' "$(cat "$LAB_DIR/connect.err")" \
		"last heard of [0-9]+ s ago, at $LAB_HOME_PUBLIC4:5009; trying that\$"
	lab_kill keep
	try_bind_at_both
	lab_kill home-daemon
	lab_kill two
	connect_udp -p 6000 -t 2 -r "$LAB_SECOND4"
	is 'two reflectors, one dead, and home away: exit 5' "$status" 5
	like 'two reflectors: what tells most is told' "$(cat "$LAB_DIR/connect.err")" \
		"^natpunch connect: no way over UDP to home at $LAB_HOME_PUBLIC4:5009: nothing"
}

# What is no use is said at once, and the words say what to do.
try_bad()
{
	lab_kill keep
	lab_kill reflect
	road_reflect
	connect_udp -p 6000
	is "not registered: exit 1" "$status" 1
	like "not registered: what to do" "$(cat "$LAB_DIR/connect.err")" \
		'^hint: at home: natpunch probe -k -u -p PORT -r [0-9.:]* -n home -K FILE$'
	road_keep
	connect_udp -p 6000
	is "registered for TCP: exit 1" "$status" 1
	like "registered for TCP: in words" "$(cat "$LAB_DIR/connect.err")" \
		'^natpunch connect: [0-9.:]* knows no UDP address of home$'
	connect_udp
	is "no -p: exit 2" "$status" 2
	connect_udp -p 6000 --fdpass
	is "--fdpass: exit 2" "$status" 2
	lab_exec laptop "$natpunch" connect -p 6000 -r "$ROAD_ADDR" -K "$LAB_DIR/home.key" home \
		>/dev/null 2>&1
	is "-p without -u: exit 2" $? 2
	start_daemon laptop-daemon laptop 6000
	connect_udp -p 6000 -m bind
	is "bind where a daemon has the port: exit 3" "$status" 3
	lab_kill laptop-daemon
}

# With workers that hand what is about names to the first one.
ROAD_REFLECT='-j 3'
start_pair port-restricted port-restricted
try_methods port-restricted raw rewrite auto
try_openvpn
if command -v wireguard-go >/dev/null && command -v wg >/dev/null; then
	try_wireguard
else
	diag 'WireGuard is not tried: there is no wireguard-go, or no wg'
fi
if command -v mosh-server >/dev/null && command -v socat >/dev/null; then
	try_mosh
else
	diag 'mosh is not tried: there is no mosh, or no socat'
fi
start_daemon home-daemon home 5000
lab_kill keep
road_keep -u -p 5000 -i 2
try_keep
try_to_another_port
try_ipv6
try_rewrite_at_home
try_deaf
try_several
try_bad
lab_stop
try_pair symmetric address-restricted auto
try_vain port-restricted symmetric "this side's NAT is symmetric"
if [ "${MATRIX-}" = all ]; then
	try_pair double port-restricted-port auto
	try_pair full-cone address-restricted auto
	try_pair address-restricted port-restricted auto
	try_pair port-restricted full-cone auto
	try_pair full-cone symmetric auto
	try_pair address-restricted symmetric auto
	try_pair open symmetric auto
	try_pair symmetric full-cone auto
	try_vain symmetric port-restricted "home's NAT may be symmetric"
	after=0
	for pair in 'double port-restricted-port' 'full-cone address-restricted' \
		'address-restricted port-restricted' 'port-restricted full-cone' 'full-cone symmetric' \
		'address-restricted symmetric' 'open symmetric' 'symmetric full-cone' \
		'port-restricted port-restricted' 'symmetric address-restricted'; do
		victim=reflect
		[ $((after % 40)) -eq 0 ] || victim=second
		# shellcheck disable=SC2086 # two words
		try_killed $pair "$victim" "$after"
		after=$((after + 20))
	done
fi
done_testing
