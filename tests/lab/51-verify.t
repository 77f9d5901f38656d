#!/bin/sh
# -V: a mapping is claimed once somebody from outside got through it, and not before. 53-kind-* has
# the kinds of NAT.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/lab/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab/verify.sh
. "$(dirname "$0")/verify.sh"
need ip nft conntrack tcpdump sshd

try_others()
{
	lab_start full-cone open
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	for method in repair rewrite raw; do
		verify -v -m "$method" -r "$LAB_REFLECTOR4"
		is "$method: exit 0" "$status" 0
		like "$method: the line" "$line" "^$LAB_HOME_PUBLIC4 [0-9]+\$"
		like "$method: a stranger was let in" "$said" "$LAB_REFLECTOR_B4:[0-9]+: connected"
		lab_nat_flush home
	done
	lab_sshd_stop
	verify -r "$LAB_REFLECTOR4"
	is 'nothing listens: exit 5' "$status" 5
	is 'no line' "$line" ''
	like 'it says so' "$said" 'hint: nothing listens'
	lab_sshd_start
	lab_kill two

	lab_reflect mute reflector --no-dial
	verify -r "$LAB_REFLECTOR4"
	is '--no-dial: exit 1' "$status" 1
	is 'no line' "$line" ''
	like 'it says why' "$said" 'cannot verify: no reflector dials back'
	lab_kill mute
	verify -u -r "$LAB_REFLECTOR4"
	is '-V with -u: usage' "$status" 2
	NATPUNCH_REFLECTOR='' verify
	is '-V without a reflector: usage' "$status" 2
	lab_stop
}

# METHOD: -k: nothing is claimed while strangers do not get in; then it is, and each turn is told.
# By raw there is no connection to ask over: it goes over one from another port.
try_keep()
{
	lab_start full-cone open
	# shellcheck disable=SC2016 # for the hook to expand
	printf '#!/bin/sh\necho "$NATPUNCH_EVENT $1 $2" >>"%s/events"\n' "$LAB_DIR" >"$LAB_DIR/hook"
	chmod 755 "$LAB_DIR/hook"
	lab_reflect two reflector -a "$LAB_REFLECTOR_B4"
	lab_spawn keep home "$natpunch" probe -k -V -v -m "$1" -i 0.5 \
		-e "$LAB_DIR/hook" -r "$LAB_REFLECTOR4"
	ok "$1: a mapping that works: up" wait_for_line 5 "$LAB_DIR/events" "^up $LAB_HOME_PUBLIC4 22\$"
	is "$1: and a line" "$(cat "$LAB_DIR/keep.out")" "$LAB_HOME_PUBLIC4 22"
	ok "$1: it was dialled before" grep -q 'connected after' "$LAB_DIR/keep.err"

	# At a change it is verified anew; a firewall has come up meanwhile.
	lab_exec home nft -f - <<-END
		table inet local {
			chain input {
				type filter hook input priority 0
				tcp dport 22 ct state new drop
			}
		}
	END
	lab_nat_address home 203.0.113.3
	ok "$1: the next one lets nobody in: unreachable" \
		wait_for_line 15 "$LAB_DIR/events" '^unreachable 203\.0\.113\.3 22$'
	is "$1: and no line" "$(cat "$LAB_DIR/keep.out")" "203.0.113.2 22"
	lab_exec home nft delete table inet local
	lab_nat_address home 203.0.113.4
	ok "$1: the one after that does: up" wait_for_line 15 "$LAB_DIR/events" '^up 203\.0\.113\.4 22$'
	ok "$1: and a line" wait_for_line 5 "$LAB_DIR/keep.out" '^203\.0\.113\.4 22$'
	lab_kill keep
	is "$1: SIGTERM: exit 0" $? 0
	is "$1: the last event" "$(tail -n 1 "$LAB_DIR/events")" 'down 203.0.113.4 22'
	lab_kill two
	like "$1: is the method" "$(cat "$LAB_DIR/keep.err")" " by $1, asking"
	lab_stop
}

try_keep_mute()
{
	lab_start full-cone open
	lab_reflect mute reflector --no-dial
	lab_spawn keep home "$natpunch" probe -k -V -r "$LAB_REFLECTOR4"
	wait_for 5 eval '! lab_alive keep'
	lab_kill keep
	is '-k with a reflector that cannot dial: exit 1' $? 1
	lab_stop
}

try_others
try_keep repair
try_keep raw
try_keep_mute

done_testing
