#!/bin/sh
# -u -V prints a UDP mapping once a stranger's datagram came through it. 53-kind-* has the kinds of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/verify.sh
. "$(dirname "$0")/verify.sh"
need ip nft conntrack perl setpriv

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

try_udp
verify_keep raw -u

done_testing
