#!/bin/sh
# A home that is known at two reflectors which know nothing of each other: found and reached by
# either, while one is gone, when it comes back, and when its name leads elsewhere.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/road.sh
. "$(dirname "$0")/road.sh"
need ip nft conntrack ss ssh

# NAME HOST: a reflector that knows home and relays.
start_reflector()
{
	lab_spawn "$1" "$2" "$natpunch" reflect -v -R -K "$LAB_DIR/keys"
	wait_for_line 20 "$LAB_DIR/$1.err" ready || bail "reflector $1 does not start"
}

# ONE TWO: where the names lead from now on.
write_hosts()
{
	printf '%s one.example\n%s two.example\n' "$1" "$2" >"$LAB_DIR/hosts"
}

# probe -k at both, by their names.
keep_at_both()
{
	lab_spawn keep home sh "$LAB_DIR/named" "$natpunch" probe -k -v -i 2 -n home \
		-K "$LAB_DIR/home.key" -r one.example -r two.example
}

# ADDR: does the reflector there say that home is held?
held_at()
{
	lab_exec laptop "$natpunch" lookup -r "$1" -K "$LAB_DIR/home.key" -f json home \
		2>"$LAB_DIR/lookup.err" | grep -q '"held":true}$'
}

not_held_at()
{
	! held_at "$1"
}

# ADDR: the mapping of home that the reflector there knows.
known_at()
{
	lab_exec laptop "$natpunch" lookup -r "$1" -K "$LAB_DIR/home.key" home 2>/dev/null
}

# ARG...: a probe that registers home once; sets status, and leaves its words in once.err.
register_once()
{
	lab_exec_named "$natpunch" probe -v -t 2 -n home -K "$LAB_DIR/home.key" "$@" \
		>"$LAB_DIR/once.out" 2>"$LAB_DIR/once.err"
	status=$?
}

# ADDR: ssh by the reflector there.
ssh_by()
{
	: >"$LAB_DIR/connect.err"
	lab_exec laptop ssh -F "$LAB_DIR/ssh_config" -o ProxyCommand="$natpunch connect -v -r $1 \
		-K $LAB_DIR/home.key home 2>>$LAB_DIR/connect.err" home echo well </dev/null
}

kept_mappings()
{
	wc -l <"$LAB_DIR/keep.out"
}

said()
{
	grep -Ec -e "$1" "$LAB_DIR/keep.err"
}

said_more_than()
{
	[ "$(said "$2")" -gt "$1" ]
}

umask 022
lab_start port-restricted port-restricted
road_files
write_hosts "$LAB_REFLECTOR4" "$LAB_SECOND4"
start_reflector one reflector
start_reflector two second

# ---- once
register_once -r one.example -r two.example
is 'a probe registers home' "$status" 0
is 'at the first' "$(known_at "$LAB_REFLECTOR4")" "$(cat "$LAB_DIR/once.out")"
is 'and at the second' "$(known_at "$LAB_SECOND4")" "$(cat "$LAB_DIR/once.out")"
unlike 'without a warning' "$(cat "$LAB_DIR/once.err")" 'warning'
register_once -r one.example -r "$LAB_THIRD4" -r nobody.example
is 'where some do not know of home it is registered all the same' "$status" 0
like 'it is told of the one that is not there' "$(cat "$LAB_DIR/once.err")" \
	"warning: home is not registered at $LAB_THIRD4:3478: "
like 'and of the one that nobody knows' "$(cat "$LAB_DIR/once.err")" \
	'warning: home is not registered at nobody\.example: cannot look it up: '
(umask 077 && "$natpunch" keygen home >"$LAB_DIR/other.key")
lab_exec_named "$natpunch" probe -n home -K "$LAB_DIR/other.key" -r one.example -r two.example \
	>"$LAB_DIR/once.out" 2>"$LAB_DIR/once.err"
is 'registered nowhere: exit 1' $? 1
like 'both reflectors say so' "$(tr '\n' ' ' <"$LAB_DIR/once.err")" \
	'warning: .* two\.example:3478: .*refuses.* natpunch probe: one\.example:3478 refuses'
keep_at_both

# ---- at each
ok 'home is held at the first' wait_for 10 held_at "$LAB_REFLECTOR4"
ok 'and at the second' wait_for 10 held_at "$LAB_SECOND4"
is 'ssh by the first' "$(ssh_by "$LAB_REFLECTOR4")" well
is 'ssh by the second' "$(ssh_by "$LAB_SECOND4")" well
like 'which is direct' "$(cat "$LAB_DIR/connect.err")" 'connected to '
unlike 'home takes itself for no other home' "$(cat "$LAB_DIR/keep.err")" 'warning: another'

# ---- the one that keeps the mapping dies
mkfifo "$LAB_DIR/session.in"
lab_spawn session laptop sh -c "exec ssh -F $LAB_DIR/ssh_config home cat <$LAB_DIR/session.in"
exec 5>"$LAB_DIR/session.in"
echo begin >&5
ok 'a session that stays' wait_for_line 20 "$LAB_DIR/session.out" '^begin$'
lab_kill one KILL
ok 'the other one keeps the mapping' wait_for_line 10 "$LAB_DIR/keep.err" \
	'the mapping is kept by two.example:3478 from now on'
ok 'the name is still held there' held_at "$LAB_SECOND4"
is 'the mapping is the same' "$(kept_mappings)" 1
is 'ssh by that one' "$(ssh_by "$LAB_SECOND4")" well
ok 'what is missing is said once' wait_for_line 20 "$LAB_DIR/keep.err" \
	'warning: home is not registered at one.example:3478: '
start_reflector one reflector
ok 'it comes back, and home is there again' wait_for 20 held_at "$LAB_REFLECTOR4"
echo goes on >&5
ok 'the session went on' wait_for_line 10 "$LAB_DIR/session.out" '^goes on$'
exec 5>&-
is 'one warning' "$(said 'warning: ')" 1

# ---- another reflector has the name now
start_reflector third third
write_hosts "$LAB_REFLECTOR4" "$LAB_THIRD4"
lab_signal_keep()
{
	kill -HUP "$(cat "$LAB_DIR/keep.pid")"
}
lab_signal_keep
ok 'the name of the one that keeps the mapping leads elsewhere: home is there' \
	wait_for 10 held_at "$LAB_THIRD4"
ok 'and where it was no more' wait_for 10 not_held_at "$LAB_SECOND4"
is 'the mapping is the same all the while' "$(kept_mappings)" 1
write_hosts "$LAB_SECOND4" "$LAB_THIRD4"
lab_signal_keep
ok 'the name of the other one: home is there' wait_for 10 held_at "$LAB_SECOND4"
ok 'and where that was no more' wait_for 10 not_held_at "$LAB_REFLECTOR4"
is 'ssh by it' "$(ssh_by "$LAB_SECOND4")" well
write_hosts 198.51.100.99 "$LAB_THIRD4"
lab_signal_keep
ok 'a name that leads to nobody' wait_for_line 10 "$LAB_DIR/keep.err" '198\.51\.100\.99'
ok 'has home stay where it was' held_at "$LAB_SECOND4"

# ---- by a relay over the one that stands by
lab_exec laptop-router nft -f - <<-END
	table ip apart {
		chain forward {
			type filter hook forward priority 0
			ip saddr $LAB_HOME_PUBLIC4 tcp dport != 3478 tcp sport != 3478 drop
		}
	}
END
is 'no direct way: ssh comes through' "$(ssh_by "$LAB_THIRD4")" well
like 'relayed by the reflector that was asked' "$(cat "$LAB_DIR/connect.err")" \
	"connected by a relay: all bytes pass through $LAB_THIRD4:3478"
lab_kill keep

# ---- the first to answer keeps no names
lab_spawn stranger reflector "$LAB_BIN/liar" elsewhere 4000
wait_for_line 5 "$LAB_DIR/stranger.out" ready || bail 'the liar does not start'
lab_spawn keep home "$natpunch" probe -k -n home -K "$LAB_DIR/home.key" \
	-r "$LAB_REFLECTOR4:4000" -r "$LAB_SECOND4"
ok 'the warning says which one it is' wait_for_line 10 "$LAB_DIR/keep.err" \
	"warning: home is not registered: $LAB_REFLECTOR4:4000 keeps no names\$"
ok 'home is held at the other one' wait_for 10 held_at "$LAB_SECOND4"
lab_kill keep
lab_stop
done_testing
