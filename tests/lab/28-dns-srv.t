#!/bin/sh
# Several reflectors behind one name: SRV records of a real name server, in the order of their
# priorities, and never asked for where the name has an address of its own.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/manual.sh
. "$(dirname "$0")/manual.sh"
need ip nft knotd dig tcpdump

natpunch=$lab_top/natpunch

# The name server listens on the third host.
start_name_server()
{
	mkdir "$LAB_DIR/dns"
	{
		cat <<-END
		example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 1 60 60 60 60
		example.org. 60 IN NS ns.example.org.
		ns.example.org. 60 IN A $LAB_THIRD4
		one.example.org. 60 IN A $LAB_REFLECTOR4
		one.example.org. 60 IN AAAA $LAB_REFLECTOR6
		two.example.org. 60 IN A $LAB_SECOND4
		_natpunch._tcp.example.org. 60 IN SRV 10 0 3479 one.example.org.
		_natpunch._tcp.example.org. 60 IN SRV 20 0 3478 two.example.org.
		; has an address, so its record counts for nothing
		_natpunch._tcp.two.example.org. 60 IN SRV 0 0 3479 one.example.org.
		_natpunch._tcp.none.example.org. 60 IN SRV 0 0 0 .
		_natpunch._tcp.lost.example.org. 60 IN SRV 0 0 3478 nobody.example.org.
		END
		# More than a datagram carries, so that it is asked for once more over TCP.
		for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
			echo "_natpunch._tcp.many.example.org. 60 IN SRV 9 0 $number" \
				"a-long-name-of-a-host-that-there-is-not.number-$number.example.org."
		done
		echo '_natpunch._tcp.many.example.org. 60 IN SRV 1 0 3478 two.example.org.'
		# The records of natpunch-reflect(1), under another name.
		manual_display natpunch-reflect.1 SRV | sed 's/^_natpunch\._tcp\./&shown./'
	} >"$LAB_DIR/dns/example.org.zone"
	cat >"$LAB_DIR/dns/knot.conf" <<-END
	server:
	    rundir: $LAB_DIR/dns
	    listen: [ $LAB_THIRD4@53 ]
	    user: root
	log:
	  - target: stderr
	    any: info
	database:
	    storage: $LAB_DIR/dns
	zone:
	  - domain: example.org
	    storage: $LAB_DIR/dns
	    file: example.org.zone
	END
	lab_spawn dns third knotd -c "$LAB_DIR/dns/knot.conf"
	wait_for 10 answers || {
		diag "$(cat "$LAB_DIR/dns.err")"
		bail "the name server does not start"
	}
	printf 'nameserver %s\noptions timeout:2 attempts:2\n' "$LAB_THIRD4" >"$LAB_DIR/resolv.conf"
	echo 'hosts: dns' >"$LAB_DIR/nsswitch.conf"
	cat >"$LAB_DIR/with-dns" <<-END
	mount --bind "$LAB_DIR/resolv.conf" /etc/resolv.conf &&
		mount --bind "$LAB_DIR/nsswitch.conf" /etc/nsswitch.conf && exec "\$@"
	END
}

answers()
{
	[ -n "$(lab_exec second dig "@$LAB_THIRD4" +short +time=1 +tries=1 -t SOA example.org)" ]
}

# ARG...: natpunch at home, with that name server; sets status, and leaves out and err.
run()
{
	lab_exec home sh "$LAB_DIR/with-dns" "$natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
}

# NAME REFLECTOR WHO: a probe of the name is answered by WHO.
expect()
{
	run probe -4 -r "$2" -f '%a %r'
	is "$1" "$status $(cat "$LAB_DIR/out")" "0 $LAB_HOME_PUBLIC4 $3"
}

# How often the name server was asked for SRV records.
asked()
{
	lab_captured questions | grep -c 'SRV? _natpunch'
}

lab_start full-cone open
start_name_server
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/home.key")
lab_spawn one reflector "$natpunch" reflect -l 3479 -K "$LAB_DIR/home.key"
lab_spawn two second "$natpunch" reflect -K "$LAB_DIR/home.key"
wait_for_line 5 "$LAB_DIR/one.err" ready && wait_for_line 5 "$LAB_DIR/two.err" ready ||
	bail "a reflector does not start"
lab_capture questions home eth0 'dst port 53'

expect 'an address comes before a record' two.example.org two.example.org:3478
expect 'an address of its own, as ever' "$LAB_SECOND4" "$LAB_SECOND4:3478"
run probe -r two.example.org -f '%a %r'
is 'nor where no address of it is of the other family' "$status $(cat "$LAB_DIR/out")" \
	"0 $LAB_HOME_PUBLIC4 two.example.org:3478"
run probe -4 -r example.org:3478
is 'a port that was named stands' "$status" 1
like 'and the name has no address' "$(cat "$LAB_DIR/err")" 'cannot look up example\.org: '
is 'no record was asked for till now' "$(asked)" 0

expect 'the lowest priority first' example.org "$LAB_REFLECTOR4:3479"
wait_for 5 test "$(asked)" -gt 0
is 'that was one question' "$(asked)" 1
expect 'the dot at the end of a name' example.org. "$LAB_REFLECTOR4:3479"
run probe -4 -u -r example.org -f %r
is 'for UDP it is the same record' "$status $(cat "$LAB_DIR/out")" "0 $LAB_REFLECTOR4:3479"
run probe -4 -6 -r example.org -f '%a %r'
is 'a host of both families is asked in each' "$status $(cat "$LAB_DIR/out")" \
	"0 $LAB_HOME_PUBLIC4 $LAB_REFLECTOR4:3479
$LAB_HOME_PUBLIC6 [$LAB_REFLECTOR6]:3479"
expect 'more than a datagram carries' many.example.org "$LAB_SECOND4:3478"
# Of its three hosts, the first has another port here, and the third is not there.
expect "the manual's records" shown.example.org "$LAB_SECOND4:3478"
run check -4 -r example.org
like 'check takes it as well' "$(cat "$LAB_DIR/out" "$LAB_DIR/err")" "$LAB_HOME_PUBLIC4"

for name in none lost; do
	run probe -4 -r "$name.example.org"
	is "$name: no reflector" "$status" 1
	like "$name: it is told" "$(cat "$LAB_DIR/err")" "cannot look up $name\\.example\\.org: "
done

run probe -4 -v -n home -K "$LAB_DIR/home.key" -r example.org
is 'a name is registered at each of them' \
	"$status $(sed -n 's/.*: \(.*\) registered home as .*/\1/p' "$LAB_DIR/err" | tr '\n' ' ')" \
	"0 $LAB_REFLECTOR4:3479 $LAB_SECOND4:3478 "
lab_spawn keep home sh "$LAB_DIR/with-dns" "$natpunch" probe -4 -k -v -n home \
	-K "$LAB_DIR/home.key" -r example.org
for where in "$LAB_REFLECTOR4:3479" "$LAB_SECOND4:3478"; do
	ok "and kept at $where" wait_for_line 10 "$LAB_DIR/keep.err" \
		"home is registered as .*, at $where"
done
lab_kill keep

lab_kill one
expect 'the next one when the first is gone' example.org "$LAB_SECOND4:3478"
lab_kill dns
run probe -4 -t 2 -r example.org
is 'no name server: exit 1' "$status" 1

# One that says nothing, so that a look-up takes 8 seconds. What reads the output to its end, as
# $(natpunch probe) does, waits no longer than natpunch itself.
lab_spawn dns third "$LAB_BIN/liar" udp-id 53
wait_for_line 5 "$LAB_DIR/dns.out" ready || bail "the silent name server does not start"
rm "$LAB_DIR/out"
mkfifo "$LAB_DIR/out"
for command in 'probe -4 -t 2' 'check -4'; do
	start=$(date +%s)
	cat "$LAB_DIR/out" &
	# shellcheck disable=SC2086
	run $command -r example.org
	wait $!
	took=$(($(date +%s) - start))
	is "$command, a silent name server: exit 1" "$status" 1
	like "$command: it is told" "$(cat "$LAB_DIR/err")" 'no answer from a name server'
	ok "$command: within 8 s (it took $took)" test "$took" -lt 8
done
lab_kill dns KILL

lab_kill two
done_testing
