#!/bin/sh
# probe -k with two reflectors asks the second one as well, once, and says so
# when it saw something else.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
need ip nft conntrack

natpunch=$lab_top/natpunch

# KIND: keeps a mapping with two reflectors until the second was asked.
keep_with_two()
{
	lab_start "$1" open
	lab_spawn one reflector "$natpunch" reflect -v
	lab_spawn two second "$natpunch" reflect -v
	for name in one two; do
		wait_for_line 5 "$LAB_DIR/$name.err" ready || bail "a reflector does not start"
	done
	lab_spawn keep home "$natpunch" probe -k -i 1 -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
	ok "$1: a mapping is there" wait_for_line 5 "$LAB_DIR/keep.out" .
	ok "$1: the second reflector is asked" wait_for_line 5 "$LAB_DIR/two.err" 'asked, answered'
}

keep_with_two symmetric
ok "symmetric: that is told" wait_for_line 5 "$LAB_DIR/keep.err" \
	"warning: $LAB_REFLECTOR4:3478 saw [0-9.:]+, $LAB_SECOND4:3478 saw [0-9.:]+: the NAT's mapping depends on the destination"
is "symmetric: one mapping is kept" "$(wc -l <"$LAB_DIR/keep.out")" 1
lab_stop

# Its answer has long been judged when the first one was asked three times more.
keep_with_two full-cone-port
asked=$(grep -c 'asked, answered' "$LAB_DIR/one.err")
asked_more()
{
	[ "$(grep -c 'asked, answered' "$LAB_DIR/one.err")" -ge $((asked + 3)) ]
}
ok "full-cone-port: it is kept" wait_for 10 asked_more
lab_kill keep
is "full-cone-port: it ends well" $? 0
unlike "full-cone-port: there is nothing to tell" "$(cat "$LAB_DIR/keep.err")" warning
lab_stop

# Another public address towards the second: a second way out.
lab_start full-cone-port open
lab_exec home-router ip addr add 203.0.113.50/26 dev wan
lab_exec home-router nft add table ip other
lab_exec home-router nft add chain ip other out '{ type nat hook postrouting priority srcnat - 1; }'
lab_exec home-router nft add rule ip other out ip daddr "$LAB_SECOND4" snat to 203.0.113.50
lab_spawn one reflector "$natpunch" reflect
lab_spawn two second "$natpunch" reflect
for name in one two; do
	wait_for_line 5 "$LAB_DIR/$name.err" ready || bail "a reflector does not start"
done
lab_spawn keep home "$natpunch" probe -k -r "$LAB_REFLECTOR4" -r "$LAB_SECOND4"
ok "two addresses: that is told" wait_for_line 8 "$LAB_DIR/keep.err" \
	'warning: the reflectors disagree: .* saw 203\.0\.113\.2:[0-9]+, .* saw 203\.0\.113\.50:[0-9]+; '

done_testing
