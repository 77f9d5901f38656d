#!/bin/sh
# Home and reflector have both families: one line, always of the same one, IPv4 where there is an
# answer; with -4 -6 a line for each; with -V the one that strangers get in by. And what a family
# costs that is dead.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack sshd

natpunch=$lab_top/natpunch
name=reflector.lab

begin()
{
	lab_start "$1" open
	key=$LAB_DIR/key
	(umask 077 && "$natpunch" keygen home >"$key")
	start_reflector
	printf '%s\n' "$LAB_REFLECTOR6 $name" "$LAB_REFLECTOR4 $name" >"$LAB_DIR/hosts"
	line4="$LAB_HOME_PUBLIC4 22"
	line6="$LAB_HOME_PUBLIC6 22"
	both="$line4
$line6"
}

# Anew, it has forgotten who had it dial.
start_reflector()
{
	lab_reflect reflect reflector -a "$LAB_REFLECTOR_B4" -a "$LAB_REFLECTOR_B6" -K "$key"
}

# COMMAND [option...]: at home. Sets $status, $out, $err.
at_home()
{
	lab_exec_named "$natpunch" "$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
	out=$(cat "$LAB_DIR/out")
	err=$(lab_said "$LAB_DIR/err")
}

probe()
{
	at_home probe "$@"
}

# NAME STATUS OUT
expect()
{
	is "$1: exit $2" "$status" "$2"
	is "$1: what is printed" "$out" "$3"
	[ "$status" = "$2" ] && [ "$out" = "$3" ] || diag "$err"
}

# Drops what leaves home by FAMILY (ip, ip6) from here on, or no more.
drop()
{
	lab_exec home-router nft -f - <<-END
		table $1 hole {
			chain forward {
				type filter hook forward priority -10
				iifname "lan" drop
			}
		}
	END
}

mend()
{
	lab_exec home-router nft delete table "$1" hole
}

# [option...]: the shortest of five runs, in hundredths of a second, in $shortest.
measure()
{
	shortest=100000
	for run in 1 2 3 4 5; do
		lab_clock
		begun=$lab_now
		probe "$@"
		lab_clock
		[ $((lab_now - begun)) -ge "$shortest" ] || shortest=$((lab_now - begun))
	done
	note "$shortest hundredths of a second, the shortest of $run: $*"
}

try_one_line()
{
	got=
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		probe -r "$name"
		got="$got$status $out,"
	done
	is 'ten times of ten: IPv4' "$got" \
		"$(for _ in 1 2 3 4 5 6 7 8 9 10; do printf '0 %s,' "$line4"; done)"
	like 'the other one is told' "$err" 'there is a mapping in IPv6 as well: -6 prints it$'
	probe -q -r "$name"
	expect '-q' 0 "$line4"
	is '-q: and nothing else' "$err" ''
	probe -r "$LAB_REFLECTOR6" -r "$LAB_REFLECTOR4"
	expect 'two addresses, IPv6 first' 0 "$line4"
	probe -r "$LAB_REFLECTOR6"
	expect 'an IPv6 address alone' 0 "$line6"
	unlike 'an IPv6 address alone: not a word about IPv4' "$err" IPv4
	probe -6 -r "$name"
	expect '-6' 0 "$line6"
	probe -q -r "$name" -c "$LAB_DIR/mapping"
	probe -q -r "$name" -c "$LAB_DIR/mapping"
	is '-c: the second time there is no line' "$out" ''
}

try_both()
{
	# shellcheck disable=SC2016 # for the hook to expand
	printf '#!/bin/sh\necho "$NATPUNCH_FAMILY $1 $2" >>"%s/events"\n' "$LAB_DIR" >"$LAB_DIR/hook"
	chmod 755 "$LAB_DIR/hook"
	probe -4 -6 -r "$name" -e "$LAB_DIR/hook"
	expect '-4 -6' 0 "$both"
	is '-4 -6: the hook hears of each' "$(cat "$LAB_DIR/events")" "4 $line4
6 $line6"
	probe -6 -4 -r "$name" -f json
	is '-6 -4: IPv4 is the first all the same' \
		"$(echo "$out" | sed 's/.*"public_addr":"\([^"]*\)".*"family":\([46]\),.*}$/\1 \2/')" \
		"$LAB_HOME_PUBLIC4 4
$LAB_HOME_PUBLIC6 6"
	probe -4 -6 -r "$LAB_REFLECTOR4"
	expect '-4 -6 with an IPv4 address' 0 "$line4"
	like '-4 -6 with an IPv4 address: what is missing' "$err" \
		'warning: no line for IPv6: cannot look up .*: it has no IPv6 address$'
	probe -4 -6 -r "$name:9"
	expect '-4 -6, and nobody answers' 1 ''
	is '-4 -6, and nobody answers: one line says so' "$(echo "$err" | grep -c '^natpunch')" 1
	probe -4 -6 -r "$name" -b ::1
	expect '-4 -6 -b' 2 ''
	like '-4 -6 -b: it says why' "$err" 'does not go with -4 -6$'
	for expected in "$both" ''; do
		probe -4 -6 -r "$name" -c "$LAB_DIR/both"
		expect '-4 -6 -c' 0 "$expected"
	done
	for method in repair rewrite raw; do
		lab_nat_flush home
		probe -4 -6 -m "$method" -r "$name"
		expect "-m $method -4 -6" 0 "$both"
	done
	probe -4 -6 -m bind -p 5000 -r "$name"
	expect '-m bind -4 -6' 0 "$LAB_HOME_PUBLIC4 5000
$LAB_HOME_PUBLIC6 5000"
	for method in bind rewrite raw; do
		probe -4 -6 -u -m "$method" -p 5001 -r "$name"
		expect "-u -m $method -4 -6" 0 "$LAB_HOME_PUBLIC4 5001
$LAB_HOME_PUBLIC6 5001"
	done
	lab_nat_flush home
}

try_verify()
{
	probe -V -r "$name"
	expect '-V, IPv4 is open' 0 "$line4"
	lab_kill reflect
	start_reflector
	probe -V -4 -6 -r "$name"
	expect '-V -4 -6, IPv4 is open' 0 "$line4"
	like '-V -4 -6: why not IPv6' "$err" 'no line for IPv6: .*is not reachable from elsewhere'
}

try_dead_family()
{
	measure -4 -r "$name"
	alone=$shortest
	measure -r "$name"
	note 'both families alive'
	drop ip6
	measure -r "$name"
	expect 'IPv6 is a black hole' 0 "$line4"
	between 'IPv6 is a black hole: 250 ms more and what a busy machine takes, not -t' "$shortest" 0 $((alone + 150))
	probe -v -r "$name"
	like 'IPv6 is a black hole: -v tells' "$err" 'IPv6 given up: no answer within 250 ms'
	probe -t 2 -4 -6 -r "$name"
	expect 'IPv6 is a black hole, -4 -6' 0 "$line4"
	like 'IPv6 is a black hole, -4 -6: why' "$err" \
		'warning: no line for IPv6: no answer from .* within 2 s$'
	mend ip6
	drop ip
	probe -t 3 -r "$name"
	expect 'IPv4 is a black hole' 0 "$line6"
	like 'IPv4 is a black hole: it is told' "$err" 'no line for IPv4: no answer'
	drop ip6
	probe -t 1 -r "$name"
	expect 'both are' 1 ''
	mend ip
	mend ip6
	lab_exec home ip -6 route flush default
	lab_exec home ip -6 addr flush dev eth0
	probe -r "$name"
	expect 'home has no IPv6' 0 "$line4"
	unlike 'home has no IPv6: not a word about it' "$err" IPv6
	probe -v -r "$name"
	unlike 'home has no IPv6: it is not waited for' "$err" 'IPv6 given up'
}

# Two public servers must agree, in each family by itself.
try_public()
{
	unset NATPUNCH_REFLECTOR
	lab_reflect second second
	n=0
	for server in stun.mixvoip.com stun.m-online.net stun.sip.us stun.voipgate.com \
		stun.telnyx.com stun.threema.ch stun.nextcloud.com; do
		n=$((n + 1))
		if [ $((n % 2)) -eq 0 ]; then
			printf '%s\n' "$LAB_REFLECTOR6 $server" "$LAB_REFLECTOR4 $server"
		else
			printf '%s\n' "$LAB_SECOND6 $server" "$LAB_SECOND4 $server"
		fi
	done >>"$LAB_DIR/hosts"
	probe
	expect 'public servers' 0 "$line4"
	probe -4 -6
	expect 'public servers, -4 -6' 0 "$both"
	lab_kill second
}

try_name()
{
	probe -r "$name" -n home -K "$key"
	expect '-n' 0 "$line4"
	at_home lookup -4 -r "$name" -K "$key" home
	is '-n: registered in IPv4' "$out" "$line4"
	at_home lookup -6 -r "$name" -K "$key" home
	is '-n: and in IPv6' "$out" "$line6"
}

begin full-cone
try_one_line
try_both
try_verify
try_public
try_name
try_dead_family
lab_stop

# Now IPv6 is the open one.
LAB_IPV6=none
begin port-restricted
probe -V -t 8 -r "$name"
expect '-V, IPv6 is open' 0 "$line6"
like '-V, IPv6 is open: why not IPv4' "$err" 'no line for IPv4: .*is not reachable from elsewhere'
lab_stop

LAB_IPV6=firewall
begin port-restricted
probe -V -t 8 -r "$name"
expect '-V, neither is open' 5 ''
like '-V, neither is open: IPv4' "$err" "^natpunch probe: $LAB_HOME_PUBLIC4:22 is not reachable"
like '-V, neither is open: IPv6' "$err" "^natpunch probe: \[$LAB_HOME_PUBLIC6\]:22 is not reachable"
lab_stop

done_testing
