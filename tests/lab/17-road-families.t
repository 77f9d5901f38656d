#!/bin/sh
# From the road where there are two families: connect takes the first that leads home, a dead one
# costs a quarter of a second, and without one in common the relay is taken at once. lookup prints
# what there is a route to. And a laptop with IPv6 alone behind a NAT64.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack

name=reflector.lab
portable=$lab_top/build/portable/natpunch
[ -x "$portable" ] || bail 'build it first: make PORTABLE=1'

# COMMAND [ARG...]: at the laptop, where the names of $LAB_DIR/hosts are known; what comes first is
# read, and no more. Sets $status, $out, $err, and the hundredths of a second in $took.
at_laptop()
{
	lab_clock
	begun=$lab_now
	# shellcheck disable=SC2016
	lab_exec laptop sh -c '
		hosts=$1 natpunch=$2
		shift 2
		mount --bind "$hosts" /etc/hosts && exec "$natpunch" "$@" </dev/null' \
		names "$LAB_DIR/hosts" "$laptop_natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	lab_clock
	took=$((lab_now - begun))
	out=$(head -n 1 "$LAB_DIR/out" | tr -d '\r')
	err=$(lab_said "$LAB_DIR/err")
}

connect()
{
	at_laptop connect -v -K "$LAB_DIR/keys" "$@"
}

# NAME: sshd greeted; and how it got there.
is_greeted()
{
	like "$1: sshd greets" "$out" '^SSH-2\.0-'
	case $out in SSH-2.0-*) ;; *) diag "$err" ;; esac
}

# SIDE FAMILY (ip, ip6) [MATCH]: drops what leaves the side from here on, or no more.
drop()
{
	lab_exec "$1-router" nft -f - <<-END
		table $2 hole {
			chain forward {
				type filter hook forward priority -10
				iifname "lan" ${3-} drop
			}
		}
	END
}

mend()
{
	lab_exec "$1-router" nft delete table "$2" hole
}

# NAME REFLECTOR PORT [ARG...]: home keeps the name registered there.
keep()
{
	lab_spawn "keep-$1-$3" home "$natpunch" probe -k -v -r "$2" -p "$3" -n "$1" -K "$LAB_DIR/keys"
	wait_for_line 20 "$LAB_DIR/keep-$1-$3.err" "$1 is registered" ||
		lab_die "not registered: $(cat "$LAB_DIR/keep-$1-$3.err")"
}

# The same name in the other family.
keep_six()
{
	lab_spawn keep6 home "$natpunch" probe -k -v -r "$LAB_REFLECTOR6" -n home -K "$LAB_DIR/keys"
	wait_for_line 20 "$LAB_DIR/keep6.err" 'home is registered' || lab_die 'not registered'
}

# [option...]: the shortest of three, in $shortest.
measure()
{
	shortest=100000
	for run in 1 2 3; do
		connect "$@" home
		is_greeted "$* ($run)"
		[ "$took" -ge "$shortest" ] || shortest=$took
	done
	note "$shortest hundredths of a second, the shortest of $run: $*"
}

begin()
{
	lab_start port-restricted port-restricted
	(umask 077 && "$natpunch" keygen home && "$natpunch" keygen work) >"$LAB_DIR/keys"
	chmod 600 "$LAB_DIR/keys"
	ROAD_REFLECT=-R
	road_reflect
	printf '%s\n' "$LAB_REFLECTOR6 $name" "$LAB_REFLECTOR4 $name" "$LAB_REFLECTOR4 four.lab" \
		>"$LAB_DIR/hosts"
	keep home "$LAB_REFLECTOR4" 22
	lab_spawn keep6 home "$natpunch" probe -k -v -r "$LAB_REFLECTOR6" -n home -K "$LAB_DIR/keys"
	wait_for_line 20 "$LAB_DIR/keep6.err" 'home is registered' || lab_die 'not registered'
	# From the same port to the same address there is one connection alone.
	keep work "$LAB_REFLECTOR_B4" 22
}

try_dead_family()
{
	measure -4 -r "$name"
	alone=$shortest
	connect -r "$name" home
	is_greeted 'both are well'
	drop laptop ip6
	measure -r "$name"
	between 'IPv6 is a black hole: 250 ms more and what a busy machine takes' "$shortest" 0 \
		$((alone + 150))
	like 'IPv6 is a black hole: by IPv4' "$err" "(connected to $LAB_HOME_PUBLIC4:22|from $LAB_HOME_PUBLIC4:)"
	mend laptop ip6
	drop laptop ip
	measure -r "$name"
	like 'IPv4 is a black hole: by IPv6' "$err" "(connected to|from) \[$LAB_HOME_PUBLIC6\]:"
	mend laptop ip
	# The reflector can be asked in both, and home cannot be reached in the one that comes first.
	drop home ip6 "ip6 daddr $LAB_LAPTOP_PUBLIC6"
	drop laptop ip6 "ip6 daddr $LAB_HOME_PUBLIC6"
	connect -r "$name" home
	is_greeted 'IPv6 leads to the reflector, and not home'
	like 'IPv6 leads to the reflector, and not home: asked in both' "$err" \
		"home is at \[$LAB_HOME_PUBLIC6\]:22"
	unlike 'IPv6 leads to the reflector, and not home: no relay' "$err" relay
	mend home ip6
	mend laptop ip6
}

try_lookup()
{
	# It was heard of last.
	lab_kill keep6
	keep_six
	at_laptop lookup -r "$name" -K "$LAB_DIR/keys" home
	is 'lookup: both can be reached' "$out" "$LAB_HOME_PUBLIC4 22"
	lab_exec laptop ip route del default
	at_laptop lookup -r "$name" -K "$LAB_DIR/keys" home
	is 'lookup: no route to IPv4' "$out" "$LAB_HOME_PUBLIC6 22"
	laptop_natpunch=$portable
	at_laptop lookup -v -r "$name" -K "$LAB_DIR/keys" home
	is 'lookup: no route to IPv4, the portable program' "$out" "$LAB_HOME_PUBLIC6 22"
	laptop_natpunch=$natpunch
	at_laptop lookup -4 -r "$name" -K "$LAB_DIR/keys" home
	is 'lookup: no route to IPv4, -4' "$out" "$LAB_HOME_PUBLIC4 22"
	at_laptop lookup -r "$name" -K "$LAB_DIR/keys" work
	is 'lookup: nothing else is known' "$out" "$LAB_HOME_PUBLIC4 22"
}

# From here on the laptop has no IPv4.
try_relay()
{
	lab_exec laptop ip -4 addr flush dev eth0
	connect -r "$name" work
	is_greeted 'no family in common'
	like 'no family in common: by a relay' "$err" "connected by a relay: .*\[$LAB_REFLECTOR6\]:3478"
	between 'no family in common: at once, hundredths of a second' "$took" 0 200
	connect -t 3 -r four.lab work
	is 'no IPv6 address of the reflector: exit 3' "$status" 3
	like 'no IPv6 address of the reflector: why' "$err" \
		"cannot connect to $LAB_REFLECTOR4:3478: Network is unreachable"
}

try_nat64()
{
	lab_spawn nat64 laptop-router "$LAB_BIN/nat64" nat64 192.168.64.2
	wait_for_line 5 "$LAB_DIR/nat64.out" ready || bail "no NAT64: $(cat "$LAB_DIR/nat64.err")"
	lab_exec laptop-router ip link set nat64 up
	lab_exec laptop-router ip route add 192.168.64.2 dev nat64
	lab_exec laptop-router ip route add 64:ff9b::/96 dev nat64
	echo '64:ff9b::c000:aa ipv4only.arpa' >>"$LAB_DIR/hosts"
	at_laptop probe -p 5000 -r "$LAB_REFLECTOR4"
	is 'NAT64: probe, an address' "$status $out" "0 $LAB_LAPTOP_PUBLIC4 5000"
	at_laptop probe -p 5001 -r four.lab
	is 'NAT64: probe, a name' "$status $out" "0 $LAB_LAPTOP_PUBLIC4 5001"
	at_laptop probe -4 -u -p 5002 -r "$name"
	is 'NAT64: probe, -4 -u, a name with both' "$status $out" "0 $LAB_LAPTOP_PUBLIC4 5002"
	at_laptop probe -6 -p 5003 -r "$LAB_REFLECTOR4"
	is 'NAT64: not with -6' "$status $out" '1 '
	at_laptop lookup -r "$LAB_REFLECTOR4" -K "$LAB_DIR/keys" work
	is 'NAT64: lookup' "$out" "$LAB_HOME_PUBLIC4 22"
	for reflector in "$LAB_REFLECTOR4" four.lab "$name"; do
		connect -r "$reflector" work
		is_greeted "NAT64: $reflector"
		like "NAT64: $reflector: punched to home's IPv4 address" "$err" \
			'(connected to|from) \[64:ff9b::cb00:7102\]:'
	done
	# What a name server of such a network makes of an IPv4 address (DNS64).
	printf '64:ff9b::%x:%x dns64.lab\n' $((198 * 256 + 51)) $((100 * 256 + 10)) >>"$LAB_DIR/hosts"
	connect -r dns64.lab work
	is_greeted 'NAT64: by DNS64'
	unlike 'NAT64: by DNS64: no relay' "$err" relay
	sed -i /ipv4only/d "$LAB_DIR/hosts"
	connect -t 6 -r "$LAB_REFLECTOR4" work
	is 'no prefix is found: exit 3' "$status" 3
}

begin
try_dead_family
try_lookup
try_relay
try_nat64
lab_stop
done_testing
