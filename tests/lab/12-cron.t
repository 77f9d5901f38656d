#!/bin/sh
# Cron's use: a line only when the mapping changed, a file that no accident
# harms, and a mapping that outlives the probe because nobody said goodbye.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch
lab_start full-cone-port open
lab_spawn reflect reflector "$natpunch" reflect
wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
state=$LAB_DIR/state/mapping
mkdir "$LAB_DIR/state"

probe()
{
	lab_exec home "$natpunch" probe -q -r "$LAB_REFLECTOR4" -c "$state" "$@" \
		>"$LAB_DIR/out" 2>"$LAB_DIR/err"
	status=$?
}

# NAME STATUS OUT
expect()
{
	is "$1: exit $2" "$status" "$2"
	is "$1: standard output" "$(cat "$LAB_DIR/out")" "$3"
}

mapping=$LAB_HOME_PUBLIC4
probe
like "the first time there is a line" "$(cat "$LAB_DIR/out")" "^$mapping [0-9]+$"
is "and no mail of errors" "$(cat "$LAB_DIR/err")" ""
line=$(cat "$LAB_DIR/out")
is "it is what the NAT holds" "$line" "$(lab_mapping home tcp 22 "$LAB_REFLECTOR4" 3478)"
for again in second third fourth; do
	probe
	expect "the $again time" 0 ""
done
probe -f ssh
expect "another format is no change" 0 ""

lab_nat_address home 203.0.113.9
lab_nat_flush home
probe
like "a new address is told" "$(cat "$LAB_DIR/out")" '^203\.0\.113\.9 [0-9]+$'
probe
expect "once" 0 ""

# Accidents.
cp "$state" "$LAB_DIR/good"
printf 'x' >>"$state"
cp "$state" "$LAB_DIR/bad"
probe
expect "a damaged file" 3 ""
like "it is named" "$(cat "$LAB_DIR/err")" 'mapping does not hold a mapping$'
like "with a hint" "$(cat "$LAB_DIR/err")" '^hint: '
ok "it is left as it is" cmp "$state" "$LAB_DIR/bad"
: >"$state"
probe
expect "an empty file is a damaged one" 3 ""
cp "$LAB_DIR/good" "$state"

# A directory on which nothing can be written, for root neither.
mkdir "$LAB_DIR/full"
cp "$LAB_DIR/good" "$LAB_DIR/full/mapping"
lab_exec home sh -c "
	mount --bind '$LAB_DIR/full' '$LAB_DIR/full' && mount -o remount,ro,bind '$LAB_DIR/full' &&
	'$natpunch' probe -q -r '$LAB_REFLECTOR4' -c '$LAB_DIR/full/mapping'" \
	>"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "a directory that cannot be written: exit 3" $? 3
is "and the mapping that it has is not told" "$(cat "$LAB_DIR/out")" ""
ok "the file lost nothing" cmp "$LAB_DIR/full/mapping" "$LAB_DIR/good"

lab_exec home sh -c "
	mount --bind '$LAB_DIR/full' '$LAB_DIR/full' && mount -o remount,ro,bind '$LAB_DIR/full' &&
	'$natpunch' probe -q -p 2200 -r '$LAB_REFLECTOR4' -c '$LAB_DIR/full/mapping'" \
	>"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "another mapping there: exit 3" $? 3
like "it is told all the same" "$(cat "$LAB_DIR/out")" '^203\.0\.113\.9 [0-9]+$'
is "and what is wrong, once" "$(grep -c 'Read-only file system$' "$LAB_DIR/err")" 1

# A full disk: the new mapping is told, the old file stands, the error is told.
lab_exec home sh -c "
	mkdir '$LAB_DIR/tiny' && mount -t tmpfs -o size=4k tmpfs '$LAB_DIR/tiny' &&
	printf 'old' >'$LAB_DIR/tiny/other' &&
	'$natpunch' probe -q -r '$LAB_REFLECTOR4' -c '$LAB_DIR/tiny/mapping'
	echo \$? >'$LAB_DIR/full.status'; ls '$LAB_DIR/tiny' >'$LAB_DIR/full.ls'" \
	>"$LAB_DIR/out" 2>"$LAB_DIR/err"
is "a full disk: exit 3" "$(cat "$LAB_DIR/full.status")" 3
like "a full disk: the mapping is told all the same" "$(cat "$LAB_DIR/out")" '^203\.0\.113\.9 [0-9]+$'
is "a full disk: no half file stays" "$(cat "$LAB_DIR/full.ls")" other

is "a full disk: said once" "$(grep -c 'cannot write' "$LAB_DIR/err")" 1

# A hook that fails, or is not there, has not taken the mapping: the next run calls it again.
printf 'no program\n' >"$LAB_DIR/hook"
chmod +x "$LAB_DIR/hook"
calls()
{
	cat "$LAB_DIR/calls" 2>/dev/null
}
rm "$state"
probe -e "$LAB_DIR/hook"
is "a hook that cannot start: exit 3" "$status" 3
like "the mapping is told" "$(cat "$LAB_DIR/out")" '^203\.0\.113\.9 [0-9]+$'
port=$(sed 's/.* //' "$LAB_DIR/out")
cat >"$LAB_DIR/hook" <<END
#!/bin/sh
echo "\$NATPUNCH_EVENT \$2" >>"$LAB_DIR/calls"
test -e "$LAB_DIR/online"
END
probe -e "$LAB_DIR/hook"
expect "a hook that fails, told before" 3 ""
is "it is called again" "$(calls)" "up $port"
like "with a word of that" "$(cat "$LAB_DIR/err")" 'the next run calls it again$'
is "a shell can read the file" "$(eval "$(sed 's/^natpunch-mapping-1 //' "$state")" &&
	echo "$NATPUNCH_PUBLIC_PORT")" "$port"
: >"$LAB_DIR/online"
probe -e "$LAB_DIR/hook"
expect "it succeeds" 0 ""
probe -e "$LAB_DIR/hook"
expect "and is not called again" 0 ""
is "three calls" "$(calls)" "$(printf 'up %s\nup %s' "$port" "$port")"

# With -k: what has been taken down at the end is taken up at the next start.
: >"$LAB_DIR/calls"
keep()
{
	lab_spawn keep home "$natpunch" probe -k -i 1 -p 2222 -r "$LAB_REFLECTOR4" \
		-c "$LAB_DIR/state/kept" -e "$LAB_DIR/hook" "$@"
}
# WORDS: the events so far.
has_called()
{
	[ "$(sed 's/ .*//' "$LAB_DIR/calls" | tr '\n' ' ')" = "$1" ]
}
keep
ok "kept: the hook is called" wait_for 5 has_called 'up '
lab_kill keep TERM
ok "and at the end" wait_for 5 has_called 'up down '
keep
ok "the next start with the same mapping calls it" wait_for 5 has_called 'up down up '
is "though there is nothing to print" "$(cat "$LAB_DIR/keep.out")" ""
lab_kill keep KILL
keep
wait_for_line 5 "$LAB_DIR/keep.err" '^natpunch probe: keeping ' || bail "not kept"
lab_kill keep TERM
ok "after a kill nothing is told again but the end" wait_for 5 has_called 'up down up down '

# A hook for some events only: those of a list, or those that scripts for natmap expect.
kept_for_a_while()
{
	: >"$LAB_DIR/calls"
	rm -f "$LAB_DIR/state/kept"
	keep "$@"
	wait_for_line 5 "$LAB_DIR/keep.err" '^natpunch probe: keeping ' || bail "not kept"
	lab_kill keep TERM
}
kept_for_a_while --hook-events change,down
ok "a hook for the end alone" has_called 'down '
kept_for_a_while --hook-args natmap
ok "a script for natmap is not called at the end" has_called 'up '
kept_for_a_while --hook-args natmap --hook-events up,down
ok "unless it is to be" has_called 'up down '
rm "$LAB_DIR/state/kept"

# What whoever starts it may leave: SIGCHLD ignored, so that the kernel reaps the hook, and no room
# for a file.
left()
{
	rm "$state"
	left_by=$1
	shift
	# shellcheck disable=SC2016 # for the shell that it starts
	lab_exec home sh -c "$left_by"'; exec "$@"' sh "$natpunch" probe -q -r "$LAB_REFLECTOR4" \
		-c "$state" "$@" 2>"$LAB_DIR/err" | cat >"$LAB_DIR/out"
	is "$left_by: nothing is wrong" "$(cat "$LAB_DIR/err")" ""
	like "$left_by: the mapping is told" "$(cat "$LAB_DIR/out")" '^203\.0\.113\.9 [0-9]+$'
	nok "$left_by: the hook has taken it" grep -q 'not told' "$state"
}
left "trap '' CHLD" -e "$LAB_DIR/hook"
left 'ulimit -S -f 0'
rm "$LAB_DIR/online"

# Several at once, of which each finds the same change.
rm "$state"
for i in 1 2 3 4 5; do
	lab_spawn "run$i" home "$natpunch" probe -q -r "$LAB_REFLECTOR4" -c "$state"
done
for i in 1 2 3 4 5; do
	read -r pid <"$LAB_DIR/run$i.pid"
	wait "$pid"
	is "five at once: run $i ends well" $? 0
done
is "five at once: one of them tells it" "$(cat "$LAB_DIR"/run?.out | wc -l)" 1
probe
expect "five at once: the file is whole" 0 ""
# A lock that everybody can hold, on what everybody can read, must be none of ours.
chmod 711 "$LAB_DIR"
lab_spawn stranger home setpriv --reuid 65534 --regid 65534 --clear-groups \
	flock "$LAB_DIR/state" sh -c 'echo held && exec tail -f /dev/null'
wait_for_line 5 "$LAB_DIR/stranger.out" held || bail "no lock"
probe
expect "somebody locks the directory" 0 ""
lab_kill stranger
is "nothing else is left in the directory" "$(ls -A "$LAB_DIR/state")" mapping

lab_stop

# The claim of the manual: the silent close keeps the mapping for as long as
# the NAT keeps an established connection; an orderly close does not. Time is
# scaled: established 20 s, transitory 2 s.
LAB_NAT_ESTABLISHED=20
LAB_NAT_TRANSITORY=2
for close in silent orderly; do
	lab_start full-cone-port open
	if [ "$close" = silent ]; then
		lab_spawn reflect reflector "$natpunch" reflect
	else
		lab_spawn reflect reflector setpriv --bounding-set -net_admin \
			--inh-caps -net_admin "$natpunch" reflect
	fi
	wait_for_line 5 "$LAB_DIR/reflect.err" ready || bail "the reflector does not start"
	lab_capture home home eth0 'tcp port 3478 and tcp[tcpflags] & (tcp-fin | tcp-rst) != 0'
	# shellcheck disable=SC2046
	set -- $(lab_exec home "$natpunch" probe -r "$LAB_REFLECTOR4" 2>"$LAB_DIR/err")
	told=$(grep -c 'warning: .* closes the connection' "$LAB_DIR/err")
	# Twice the transitory timeout: with nothing between, only an established entry lives.
	lab_clock
	until=$((lab_now + 450))
	gone()
	{
		lab_clock
		[ "$lab_now" -ge "$until" ]
	}
	wait_for 6 gone
	if [ "$close" = silent ]; then
		is "silent close: nothing to warn of" "$told" 0
		is "silent close: no FIN and no RST" "$(lab_captured home | wc -l)" 0
		ok "silent close: the mapping still leads to sshd" lab_ssh third "$1" "$2" true
	else
		is "orderly close: the user is told" "$told" 1
		like "orderly close: the reflector's owner as well" "$(cat "$LAB_DIR/reflect.err")" \
			'warning: without CAP_NET_ADMIN'
		isnt "orderly close: there are FINs" "$(lab_captured home | wc -l)" 0
		nok "orderly close: the mapping is gone" lab_ssh third "$1" "$2" true 2>/dev/null
	fi
	lab_stop
done

done_testing
