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

# KIND LAPTOPKIND METHOD...
try_pair()
{
	title="home $1, laptop $2"
	start_pair "$1" "$2"
	shift 2
	start_daemon laptop-daemon laptop 6000 "$LAB_DIR/target"
	before="$(port_of home 5000) $(port_of laptop 6000)"
	for method in "$@"; do
		lab_nat_flush laptop
		connect_udp -p 6000 -m "$method"
		is "$title, $method: exit 0" "$status" 0
		is "$title, $method: home's mapping" "$line" "$(tail -n 1 "$LAB_DIR/keep.out")"
	done
	daemons_meet "$title"
	is "$title: both daemons have their sockets still" \
		"$(port_of home 5000) $(port_of laptop 6000)" "$before"
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

try_pair port-restricted port-restricted raw rewrite auto
[ -n "${QUICK-}" ] || {
try_pair full-cone address-restricted auto
try_pair double port-restricted-port auto
try_vain port-restricted symmetric "this side's NAT is symmetric"
try_vain symmetric port-restricted "home's NAT may be symmetric"
}
done_testing
