#!/bin/sh
# probe -k where home and reflector have both families: each has a line, a record in FILE, hooks and a
# name; what happens to one is not noticed in the other; and a family that is missing costs no word.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack ss

natpunch=$lab_top/natpunch
name=reflector.lab

begin()
{
	lab_start full-cone open
	key=$LAB_DIR/key
	(umask 077 && "$natpunch" keygen home >"$key")
	lab_reflect reflect reflector -K "$key"
	printf '%s\n' "$LAB_REFLECTOR6 $name" "$LAB_REFLECTOR4 $name" >"$LAB_DIR/hosts"
	line4="$LAB_HOME_PUBLIC4 22"
	line6="$LAB_HOME_PUBLIC6 22"
	# shellcheck disable=SC2016 # for the hook to expand
	printf '#!/bin/sh\necho "$NATPUNCH_EVENT $NATPUNCH_FAMILY $1 $2" >>"%s/events"\n' "$LAB_DIR" \
		>"$LAB_DIR/hook"
	chmod 755 "$LAB_DIR/hook"
	: >"$LAB_DIR/events"
}

# [option...]
keep()
{
	lab_spawn keep home sh "$LAB_DIR/named" "$natpunch" probe -k "$@"
}

# The lines of a file, sorted, on one line.
sorted()
{
	sort "$1" | tr '\n' ','
}

is_sorted()
{
	[ "$(sorted "$1")" = "$2" ]
}

# FAMILY: the name's address in it, for the laptop.
found()
{
	lab_exec laptop "$natpunch" lookup "-$1" -r "$LAB_REFLECTOR4" -K "$key" home 2>&1
}

is_found()
{
	[ "$(found 4) $(found 6)" = "$line4 $line6" ]
}

try_both()
{
	file=$LAB_DIR/mapping
	keep -i 1 -n home -K "$key" -c "$file" -e "$LAB_DIR/hook" -r "$name"
	ok 'a line for each' wait_for 10 is_sorted "$LAB_DIR/keep.out" "$(printf '%s\n' "$line4" "$line6" | sort | tr '\n' ',')"
	ok 'the hook hears of each' wait_for 10 is_sorted "$LAB_DIR/events" \
		"$(printf '%s\n' "up 4 $line4" "up 6 $line6" | tr '\n' ',')"
	ok 'the name is registered in each' wait_for 10 is_found
	is 'FILE has both, IPv4 last' \
		"$(sed -n "s/^natpunch-mapping-1 NATPUNCH_PUBLIC_ADDR=\([^ ]*\) .*/\1/p" "$file" | tr '\n' ' ')" \
		"$LAB_HOME_PUBLIC6 $LAB_HOME_PUBLIC4 "
	is 'two connections are held' "$(lab_exec home ss -tnH state established 'dport = :3478' | wc -l)" 2

	# The NAT of IPv4 gets another address; IPv6 has no part in it.
	lab_nat_address home 203.0.113.20
	lab_cone_flush home-router ip
	lab_exec home-router conntrack -D -f ipv4 >/dev/null 2>&1
	line4='203.0.113.20 22'
	ok 'another address in IPv4' wait_for 10 lab_file_has "$LAB_DIR/keep.out" "^$line4\$"
	ok 'and the name has it' wait_for 10 is_found
	ok 'the hook hears of the change' wait_for 10 lab_file_has "$LAB_DIR/events" "^change 4 $line4\$"
	is 'and nothing of IPv6' "$(grep -c ' 6 ' "$LAB_DIR/events")" 1

	lab_kill keep
	is 'it ends well' $? 0
	is 'the hook heard the end of each' "$(grep '^down' "$LAB_DIR/events" | sort | tr '\n' ',')" \
		"down 4 $line4,down 6 $line6,"
	keep -i 1 -c "$file" -e "$LAB_DIR/hook" -r "$name"
	ok 'begun again: the hook hears of each' wait_for 10 is_up_again
	is 'begun again: there is no line' "$(cat "$LAB_DIR/keep.out")" ''
	lab_kill keep
}

is_up_again()
{
	[ "$(grep -c '^up' "$LAB_DIR/events")" = 4 ]
}

try_one()
{
	keep -6 -4 -i 1 -r "$LAB_REFLECTOR4"
	ok 'the address of an IPv4 reflector' wait_for 10 lab_file_has "$LAB_DIR/keep.out" "^$line4\$"
	lab_kill reflect
	ok 'an outage is told' wait_for_line 20 "$LAB_DIR/keep.err" 'trying again$'
	lab_reflect reflect reflector -K "$key"
	ok 'and its end' wait_for_line 20 "$LAB_DIR/keep.err" \
		"there are answers again: ${line4% *}:22 is still the mapping\$"
	lab_kill keep
	is 'it ends well' $? 0
	is 'one line' "$(wc -l <"$LAB_DIR/keep.out")" 1
	unlike 'and not a word about IPv6' "$(lab_said "$LAB_DIR/keep.err")" IPv6

	keep -m bind -r "$name"
	wait_for 10 keep_is_over
	wait "$LAB_PID"
	is 'this machine refuses both: exit 3' $? 3
	is 'in one line' "$(grep -c '^natpunch' "$LAB_DIR/keep.err")" 1
}

keep_is_over()
{
	! lab_alive keep
}

# Home has no IPv6, until there is one.
try_missing()
{
	address=$(lab_exec home ip -6 -o addr show dev eth0 scope global | awk '{ print $4 }')
	gateway=$(lab_exec home ip -6 route show default | awk '{ print $3 }')
	lab_exec home ip -6 route flush default
	lab_exec home ip -6 addr flush dev eth0 scope global
	lab_kill reflect
	keep -i 1 -r "$name"
	ok 'no IPv6, and no reflector: it is told' wait_for_line 20 "$LAB_DIR/keep.err" 'trying again$'
	lab_reflect reflect reflector -K "$key"
	ok 'until there is one' wait_for 20 lab_file_has "$LAB_DIR/keep.out" "^$line4\$"
	is 'it is told once, of IPv4' "$(grep -c 'warning: IPv4: .*trying again$' "$LAB_DIR/keep.err")" 1
	unlike 'and not of IPv6' "$(lab_said "$LAB_DIR/keep.err")" 'IPv6:'
	lab_kill keep
	keep -i 1 -r "$name"
	ok 'no IPv6: a line' wait_for 10 lab_file_has "$LAB_DIR/keep.out" "^$line4\$"
	lab_exec home ip -6 addr add "$address" dev eth0 nodad
	lab_exec home ip -6 route add default via "$gateway" dev eth0
	ok 'now there is one: another line' wait_for 20 lab_file_has "$LAB_DIR/keep.out" "^$line6\$"
	unlike 'and not a word of warning' "$(lab_said "$LAB_DIR/keep.err")" warning
	lab_kill keep
}

# Home's IPv6 address is a stable one, and there is a temporary one, which the kernel prefers.
is_temporary()
{
	lab_exec home ip -6 addr show dev eth0 scope global temporary | grep -q ' temporary '
}

begin_temporary()
{
	stable=2001:db8:1:1:200:5eff:fe00:5301
	lab_exec home ip -6 addr flush dev eth0 scope global
	lab_exec home sysctl -qw net.ipv6.conf.eth0.use_tempaddr=2 net.ipv6.conf.eth0.accept_dad=0
	lab_exec home ip -6 addr add "$stable/64" dev eth0 mngtmpaddr nodad
	lab_exec home ip -6 route replace default via 2001:db8:1:1::1 dev eth0
	ok 'home has a temporary address' wait_for 5 is_temporary
	like 'which the kernel sends from' \
		"$(lab_exec home ip -6 route get "$LAB_REFLECTOR6")" ' src 2001:db8:1:1:'
	unlike 'and not from the stable one' \
		"$(lab_exec home ip -6 route get "$LAB_REFLECTOR6")" "src $stable "
}

try_temporary()
{
	begin_temporary
	for method in bind:5000 repair:22 rewrite:22 raw:22; do
		is "a stable address by ${method%:*}" "$(lab_exec home "$natpunch" probe -q -6 \
			-m "${method%:*}" -p "${method#*:}" -r "$LAB_REFLECTOR6")" "$stable ${method#*:}"
	done
	keep -i 1 -6 -r "$name"
	ok 'it is kept' wait_for 10 lab_file_has "$LAB_DIR/keep.out" "^$stable 22\$"

	# The provider hands out another prefix, and takes the old one back.
	lab_exec home-router ip -6 addr add 2001:db8:1:2::1/64 dev lan nodad
	lab_exec home ip -6 addr add 2001:db8:1:2::7/64 dev eth0 nodad
	lab_exec home ip -6 addr change "$stable/64" dev eth0 preferred_lft 0
	ok 'another prefix' wait_for 20 lab_file_has "$LAB_DIR/keep.out" '^2001:db8:1:2::7 22$'
	lab_kill keep
}

begin
try_both
try_one
try_missing
try_temporary
lab_stop
done_testing
