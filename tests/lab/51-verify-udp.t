#!/bin/sh
# -u -V prints a UDP mapping once a stranger's datagram came through it. 53-kind-* has the kinds of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/verify.sh
. "$(dirname "$0")/verify.sh"
need ip nft conntrack perl setpriv ss

# Over UDP, from a port that a daemon has, by each method, and from a free one without privileges.
try_udp()
{
	lab_start full-cone open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	verify -u -p 5000 -m bind -r "$LAB_REFLECTOR4"
	is "UDP, bind: exit 0" "$status" 0
	lab_nat_flush home
	line=$(lab_exec home setpriv --reuid 65534 --regid 65534 --clear-groups "$natpunch" probe -V -u \
		-p 5000 -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/said")
	is "UDP, without privileges: exit 0" $? 0
	# shellcheck disable=SC2016 # a program in perl
	lab_spawn daemon home perl -MIO::Socket::INET -e \
		'$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 5000) or die; $| = 1; print "bound\n"; sleep'
	wait_for_line 10 "$LAB_DIR/daemon.out" '^bound$' || bail 'no daemon'
	for method in rewrite raw; do
		lab_nat_flush home
		verify -v -u -p 5000 -m "$method" -r "$LAB_REFLECTOR4"
		is "UDP, $method: exit 0" "$status" 0
		is "UDP, $method: the line" "$line" "$LAB_HOME_PUBLIC4 5000"
		like "UDP, $method: a stranger was let in" "$said" \
			"a datagram from $LAB_REFLECTOR_B4:3479 came\$"
	done
	verify_drop udp 5000
	lab_nat_flush home
	verify -u -p 5000 -f json -r "$LAB_REFLECTOR4"
	is "UDP, a firewall of this machine: exit 5" "$status" 5
	is "UDP, a firewall of this machine: no line" "$line" ''
	like "UDP, a firewall of this machine: it says so" "$said" \
		": this machine drops what comes from $LAB_REFLECTOR_B4\$"
	lab_exec home nft delete table inet local
	lab_kill two
	lab_reflect one reflector
	verify -u -p 5000 -r "$LAB_REFLECTOR4"
	is "UDP, nobody to be a stranger: exit 1" "$status" 1
	like "UDP, nobody to be a stranger: the hint" "$said" '^hint: -u -V needs .* with -a$'
	lab_stop
}

is_bound()
{
	lab_exec home ss -uanH 'sport = :5002' | grep -q .
}

# Without privileges, while nobody can be a stranger: what comes to the port is passed on all the
# while.
try_to_meanwhile()
{
	lab_start open open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	lab_exec home nft -f - <<-END
		table inet strangers {
			chain in { type filter hook input priority 0; udp sport 3479 drop; }
		}
	END
	# shellcheck disable=SC2016 # programs in perl
	lab_spawn server home perl -MIO::Socket::INET -e \
		'$s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1", LocalPort => 6000) or die; $s->send("well") while defined $s->recv($d, 99)'
	lab_spawn keep home setpriv --reuid 65534 --regid 65534 --clear-groups "$natpunch" probe -k -v \
		-u -V -p 5002 -r "$LAB_REFLECTOR4" --to 127.0.0.1:6000
	wait_for 10 is_bound || bail 'the port is not taken'
	# shellcheck disable=SC2016
	lab_spawn peer third perl -MIO::Socket::INET -e '$| = 1;
		$s = IO::Socket::INET->new(Proto => "udp", PeerAddr => $ARGV[0], PeerPort => 5002) or die;
		for (1 .. 200) { $s->send("hello"); vec($r = "", fileno $s, 1) = 1;
			select(undef, undef, undef, 0.05) if $got = select($r, undef, undef, 0.5); $s->recv($d, 99) if $got;
			print $got ? "well\n" : "lost\n" }' "$LAB_HOME4"
	ok "UDP, --to: nobody came" wait_for_line 20 "$LAB_DIR/keep.err" 'is not reachable from elsewhere'
	is "UDP, --to: nothing was lost while it was verified" \
		"$(grep -c lost "$LAB_DIR/peer.out")" 0
	lab_stop
}

try_udp
try_to_meanwhile
verify_keep raw -u

done_testing
