#!/bin/sh
# check where home and reflector have both families: it judges both at the same time, and the verdict is
# that of the better one; a family that is lacking is one line.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack sshd perl

natpunch=$lab_top/natpunch
name=reflector.lab

begin()
{
	lab_start "$1" open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6"
	printf '%s\n' "$LAB_REFLECTOR6 $name" "$LAB_REFLECTOR4 $name" \
		"$LAB_REFLECTOR4 four.lab" >"$LAB_DIR/hosts"
}

# [option...]: runs check where the names are known. Sets $status, $out, $err and $took.
check()
{
	lab_clock
	begun=$lab_now
	lab_exec_named "$natpunch" check "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	lab_clock
	took=$((lab_now - begun))
	out=$(cat "$LAB_DIR/out")
	err=$(lab_said "$LAB_DIR/err")
	lab_nat_flush home
}

# NAME WANT EXPRESSION: what perl makes of the JSON, in $_.
json()
{
	# shellcheck disable=SC2016 # for perl
	is "$1" "$(echo "$out" | perl -MJSON::PP -e \
		'$_ = decode_json(<STDIN>); print join(" ", map { $_ // "null" } eval $ARGV[0])' "$3")" "$2"
}

# The commonest home: the NAT lets everybody in over IPv4, and the router nobody over IPv6.
try_better()
{
	begin full-cone
	check -4 -r "$name"
	first=$(echo "$out" | head -n 1)
	is 'IPv4 alone' "$status $first" \
		"0 yes: anybody can connect to TCP port 22 here, through $LAB_HOME_PUBLIC4 port 22"
	unlike 'IPv4 alone: no word of families' "$out" '^IPv'
	check -6 -r "$name"
	is 'IPv6 alone: exit 5' "$status" 5
	check -r "$name"
	is 'both: exit 0' "$status" 0
	is 'both: the verdict' "$(echo "$out" | head -n 1)" \
		'yes: anybody can connect to TCP port 22 here over IPv4, nobody over IPv6'
	is 'both: IPv4, then IPv6' "$(echo "$out" | grep -A 1 '^IPv[46]:$')" "IPv4:
$first
--
IPv6:
no: a firewall on the way lets nobody in to TCP port 22 here"
	is 'both: two tables' "$(echo "$out" | grep -c '^  filtering ')" 2
	is 'both: nothing else is said' "$err" ''
	check -4 -6 --lifetime 3 -r "$name"
	is 'the lifetime of both: neither ends the search of the other' \
		"$(echo "$out" | grep -o 'at least [0-9]* s' | tr '\n' ',')" 'at least 3 s,at least 3 s,'
	check -f json -4 -r "$name"
	# shellcheck disable=SC2016 # for perl
	json 'JSON, IPv4 alone: as ever' '1 null null' '$_->{direct}, $_->{family}, $_->{other}'
	# shellcheck disable=SC2016
	keys='grep { !/^(family|other)$/ } sort keys %$_'
	one=$(echo "$out" | perl -MJSON::PP -e '$_ = decode_json(<STDIN>); print join(" ", sort keys %$_)')
	check -f json -r "$name"
	json 'JSON: all that one family has' "$one" "$keys"
	# shellcheck disable=SC2016
	json 'JSON: of the better one' "1 $LAB_HOME_PUBLIC4 4" '$_->{direct}, $_->{public_addr}, $_->{family}'
	# shellcheck disable=SC2016
	json 'JSON: and of the other' "0 $LAB_HOME_PUBLIC6 6 router null" \
		'map { $_->{direct}, $_->{public_addr}, $_->{family}, $_->{obstacle}, $_->{obstacle_owner} } $_->{other}'
	check -u -p 5022 -f json -r "$name"
	# shellcheck disable=SC2016
	json 'UDP: both' '1 4 0 6' '$_->{direct}, $_->{family}, map { $_->{direct}, $_->{family} } $_->{other}'
}

try_lacking()
{
	check -r four.lab
	is 'an IPv4 reflector: exit 0' "$status" 0
	is 'an IPv4 reflector: the verdict' "$(echo "$out" | head -n 1)" "$first"
	is 'an IPv4 reflector: one line about IPv6' "$(echo "$out$err" | grep IPv6)" \
		'IPv6: cannot look up four.lab: it has no IPv6 address'
	check -u -p 5022 -f json -r four.lab
	# shellcheck disable=SC2016
	json 'an IPv4 reflector, UDP, JSON: why' '1 cannot look up four.lab: it has no IPv6 address 6' \
		'$_->{direct}, $_->{other}{error}, $_->{other}{family}'
	check -r "$LAB_REFLECTOR4"
	unlike 'an IPv4 address: not a word about IPv6' "$out$err" IPv6
	check -r "$name:9"
	is 'nobody answers: exit 1' "$status" 1
	is 'nobody answers: no verdict' "$out" ''
	is 'nobody answers: one line says so' "$(echo "$err" | grep -c '^natpunch')" 1
	lab_exec home ip -6 route flush default
	check -r "$name"
	is 'no IPv6 at home: exit 0' "$status" 0
	like 'no IPv6 at home: one line' "$out" '^IPv6: cannot connect to .*: Network is unreachable$'
	lab_exec home ip -6 route add default via "${LAB_HOME6%:*}:1"
}

# Has every natpunch at home ended?
are_gone()
{
	for pid in $(ip netns pids "$LAB-home"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != natpunch ] || return 1
	done
}

try_ends()
{
	lab_spawn killed home sh "$LAB_DIR/named" "$natpunch" check -v -r "$name"
	wait_for_line 10 "$LAB_DIR/killed.err" 'dial-back from' || bail 'nobody is dialled'
	lab_kill killed KILL
	ok 'killed: its copy ends as well' wait_for 5 are_gone

	lab_nat_flush home
	lab_spawn search home sh "$LAB_DIR/named" "$natpunch" check -v --lifetime 600 -r "$name"
	searches()
	{
		[ "$(grep -c 'a mapping that was silent for 1 s' "$LAB_DIR/search.err")" -ge 2 ]
	}
	ok 'a lifetime: searched in each family' wait_for 60 searches
	lab_kill search TERM
	is 'a lifetime: ended early, told in each' \
		"$(grep -c '^  mapping lifetime   at least' "$LAB_DIR/search.out")" 2
	lab_stop
}

# The other way round.
try_ipv6()
{
	export LAB_IPV6=none
	begin port-restricted
	check -r "$name"
	is 'IPv6 is open: exit 0' "$status" 0
	is 'IPv6 is open: the verdict' "$(echo "$out" | head -n 1)" \
		'yes: anybody can connect to TCP port 22 here over IPv6, nobody over IPv4'
	is 'IPv6 is open: it is first' "$(echo "$out" | grep '^IPv[46]:$' | tr '\n' ' ')" 'IPv6: IPv4: '
	check -f json -r "$name"
	# shellcheck disable=SC2016
	json 'IPv6 is open: JSON' '1 6 0 4' '$_->{direct}, $_->{family}, map { $_->{direct}, $_->{family} } $_->{other}'
	unset LAB_IPV6
	lab_stop
	begin port-restricted
	check -4 -r "$name"
	alone=$took
	check -6 -r "$name"
	alone=$((alone + took))
	check -r "$name"
	is 'both are shut: exit 5' "$status" 5
	# Each family waits three seconds in vain for a dial-back.
	between 'both are shut: they wait at the same time' "$took" 0 $((alone - 100))
	is 'both are shut: the verdict' "$(echo "$out" | head -n 1)" \
		'no: nobody can connect to TCP port 22 here, over IPv4 or over IPv6'
	is 'both are shut: the steps to a name once' "$(echo "$out" | grep -c 'natpunch keygen')" 1
	lab_stop
}

try_better
try_lacking
try_ends
try_ipv6
done_testing
